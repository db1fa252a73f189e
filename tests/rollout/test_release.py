"""What a slot is given: an environment of one line a variable, and commands in which only placeholders are replaced."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.rollout.release import command_words, parse_env, render_env

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize("env", [{"A": "x\nLD_PRELOAD=/evil\ny"}, {"A": "x\0"}, {"A\nB": "x"}, {"A=B": "x"}])
def test_what_would_be_lines_of_its_own_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(InvalidEstate, match="write it as one line"):
        render_env(env)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.text(max_size=12)))
def test_a_rendered_environment_is_just_what_was_declared(env: dict[str, str]) -> None:
    try:
        text = render_env(env)
    except (InvalidEstate, UnicodeEncodeError):
        return
    assert parse_env(text) == env
    assert text.count(b"\n") == len(env)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serve {address}:{port}", ["serve", "127.0.0.1:8100"]),
        ("serve --format '{{port}} {{any}}' {port}", ["serve", "--format", "{port} {any}", "8100"]),
        ("""serve --json '{"a": {"b": 1}}' {}""", ["serve", "--json", '{"a": {"b": 1}}', "{}"]),
        ("awk '{print $1}' {unknown}", ["awk", "{print $1}", "{unknown}"]),
    ],
)
def test_placeholders_are_replaced_and_braces_are_text(command: str, words: list[str]) -> None:
    assert command_words(command, "127.0.0.1", 8100) == words
