"""The demonstration shows no token, and leaves it nowhere but in a file of its owner's."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.sources import ROOT

TOKEN = "manor_" + "t0ken-_x" * 5


def test_git_finds_the_token_in_a_file_and_nowhere_else(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "run", lambda *words, **_: ran.append(tuple(map(str, words))))
    monkeypatch.setattr(demo.shutil, "copytree", lambda *_: None)
    demo.make_repository("http://127.0.0.1:7080", TOKEN)
    assert not [words for words in ran if TOKEN in " ".join(words)]
    assert ("git", "remote", "add", "origin", "http://127.0.0.1:7080/git/warehouse.git") in ran
    file = tmp_path / "git-credentials"
    assert file.read_text() == f"http://ada:{TOKEN}@127.0.0.1:7080\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [words[-1] for words in ran if "credential.helper" in words] == ["", f"store --file={file}"]


@pytest.mark.native
def test_no_token_is_shown(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run(sys.executable, "-c", f"print('shown this once: {TOKEN}')", cwd=ROOT) == f"shown this once: {TOKEN}\n"
    with pytest.raises(SystemExit, match="exit code 3") as ended:
        demo.run(sys.executable, "-c", f"print('{TOKEN}'); raise SystemExit(3)", cwd=ROOT, quiet=True)
    assert TOKEN not in capsys.readouterr().out + str(ended.value)
