"""supervisord.conf from cases, and attempts to break out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.execution.values import HostPath
from manor.integrations.supervisors.base import Program, wrapped
from manor.integrations.supervisors.supervisor import product
from manor.integrations.supervisors.supervisor.quoting import checked_name, checked_signal, quote_path
from tests.integrations.supervisors.supervisor.support import case_host, host_of, read_back

CASES = sorted((Path(__file__).parent / "cases").iterdir())
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=20)
TRICKY = st.text(st.sampled_from(" ;#%()'\"\\$`\t[]=:\u00a0\u2028ax"), max_size=12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_renders_as_the_case_says(case: Path, request: pytest.FixtureRequest) -> None:
    files = product.render(case_host((case / "programs.yaml").read_text()))
    golden = case / "supervisord.conf"
    if request.config.getoption("--update-golden", default=False):
        golden.write_bytes(files[0].content)
    assert [file.name for file in files] == ["supervisord.conf"]
    assert files[0].content.decode() == golden.read_text()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host")
    for name in ("log", "run/supervisor", "s"):
        (path / name).mkdir(parents=True)
    return path


@given(words=st.lists(WORDS | TRICKY, min_size=1, max_size=5))
def test_supervisords_own_parser_gives_every_word_back(root: Path, words: list[str]) -> None:
    program = Program("odd", tuple(words), "service/odd", HostPath(root / "log" / "odd.log"))
    host = host_of(root, program)
    (argv,) = read_back(product.render(host)[0].content).values()
    assert argv == wrapped(program, host.layout)


@given(name=st.text(max_size=12))
def test_a_name_is_taken_as_it_is_or_refused(root: Path, name: str) -> None:
    program = Program(name, ("true",), "service/odd", HostPath(root / "log" / "odd.log"))
    try:
        files = product.render(host_of(root, program))
    except InvalidEstate:
        return
    assert list(read_back(files[0].content)) == [name]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a\nb", "run.command: 'a\\nb' has a line end or a NUL in it; put the text into a script of the release and call that"),
        ("a\0b", "run.command: 'a\\x00b' has a line end or a NUL in it; put the text into a script of the release and call that"),
        ("\ud800", "run.command: '\\ud800' is no valid UTF-8; write it as UTF-8"),
    ],
)
def test_what_an_ini_file_cannot_carry_is_refused(word: str, message: str) -> None:
    with pytest.raises(InvalidEstate) as refused:
        product.render(host_of(Path("/srv/manor"), Program("odd", (word,), "service/odd", HostPath("/x"))))
    assert str(refused.value) == message


def test_names_signals_and_paths_that_would_be_read_otherwise_are_refused() -> None:
    for bad in ('x"} backend evil', "a:b", "a]", "", "x\ny"):
        with pytest.raises(InvalidEstate, match="is no name for a program"):
            checked_name(bad)
    with pytest.raises(InvalidEstate, match="'HALT' is no signal"):
        checked_signal("HALT")
    assert checked_signal("sigquit") == "QUIT"
    with pytest.raises(InvalidEstate, match="put the state folder elsewhere"):
        quote_path(HostPath("/srv/a ;b"))
    assert quote_path(HostPath("/srv/100%/x y")) == "/srv/100%%/x y"
