"""The machine-wide file: who has which addresses; numbers are kept, given back, never given twice."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from manor.errors import ApplyFailed
from manor.execution import machine
from manor.execution.instances import RunningInstance, running_instances
from manor.execution.machine import Claim, Machine, machine_file

PAIRS = tuple((8080 + 100 * n, 8443 + 100 * n) for n in range(5))


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """Stand for the machine: places in the set are in use by somebody else."""
    places: set[tuple[str, int]] = set()
    monkeypatch.setattr(machine, "can_bind", lambda address, port: (address, port) not in places)
    monkeypatch.setattr(machine, "networks_listening", lambda _text: frozenset())
    return places


def folder(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.mkdir()
    return path


def test_a_folder_keeps_its_network_and_no_other_gets_it(tmp_path: Path) -> None:
    ours, theirs, file = folder(tmp_path, "a"), folder(tmp_path, "b"), Machine(tmp_path / "file")
    assert file.claim_network(ours) == file.claim_network(ours) == machine.NETWORKS[0]
    assert file.claim_network(theirs) == machine.NETWORKS[1]


def test_what_somebody_else_uses_is_passed_over(tmp_path: Path, taken: set[tuple[str, int]]) -> None:
    taken.add((f"127.{machine.NETWORKS[0]}.1.1", 8080))
    taken.update({("127.0.0.1", 8080), ("127.0.0.1", 8543)})
    ours, file = folder(tmp_path, "a"), Machine(tmp_path / "file")
    assert file.claim_network(ours) == machine.NETWORKS[1]
    assert file.claim_front(ours, PAIRS) == 2


def test_fronts_add_up_and_are_given_back_together(tmp_path: Path) -> None:
    ours, theirs, file = folder(tmp_path, "a"), folder(tmp_path, "b"), Machine(tmp_path / "file")
    for one in (ours, theirs):
        file.claim_network(one)
    assert [file.claim_front(ours, PAIRS), file.claim_front(theirs, PAIRS), file.claim_front(ours, PAIRS)] == [0, 1, 2]
    assert file.claims[str(ours)] == Claim(machine.NETWORKS[0], (0, 2))
    file.release(ours)
    assert file.claim_front(theirs, PAIRS) == 0


def test_the_file_goes_with_its_last_line(tmp_path: Path) -> None:
    ours, file = folder(tmp_path, "a"), Machine(tmp_path / "file")
    file.claim_network(ours)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666
    file.release(ours)
    assert not (tmp_path / "file").exists()


def test_folders_that_are_gone_lose_their_claims(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({str(tmp_path / "gone"): {"network": 16, "fronts": [0]}}))
    file = Machine(tmp_path / "file")
    assert file.claims == {}
    assert file.claim_network(folder(tmp_path, "a")) == 16


def test_none_left_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "can_bind", lambda _address, _port: False)
    with pytest.raises(ApplyFailed, match="no free loopback addresses"):
        Machine(tmp_path / "file").claim_network(tmp_path)
    assert not (tmp_path / "file").exists()


def test_another_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.MACHINE_FILE_VARIABLE, str(tmp_path / "mine"))
    assert Machine().file == tmp_path / "mine"
    monkeypatch.delenv(machine.MACHINE_FILE_VARIABLE)
    assert machine_file() == machine.MACHINE_FILE


def test_marked_processes_are_found(tmp_path: Path) -> None:
    for pid, environ in (
        ("30", b"A=1\0MANOR_INSTANCE=/h/dev/all-1:shop-a\0B=2"),
        ("4", b"MANOR_INSTANCE=/x:tier-0-router-x\0"),
        ("5", b"A=1\0"),
        ("self", b""),
    ):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "environ").write_bytes(environ)
    (tmp_path / "6").mkdir()
    assert list(running_instances(tmp_path)) == [RunningInstance(4, "/x", "tier-0-router-x"), RunningInstance(30, "/h/dev/all-1", "shop-a")]


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"/": {}}', '{"/": {"network": 16, "fronts": 1}}'])
def test_a_file_of_something_else_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "addresses").write_text(content)
    with pytest.raises(ApplyFailed, match="is not what Manor writes there"):
        Machine(tmp_path / "addresses").claim_network(tmp_path)
    assert (tmp_path / "addresses").read_text() == content
