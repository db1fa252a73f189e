"""Which paths a pattern means."""

from __future__ import annotations

import pytest

from manor.pipeline.globs import parse_glob, selector

TABLE = [
    ("lib",           ["lib", "lib/a.py", "lib/b/c.py"],   ["liba", "x/lib"]),
    ("*.xml",         ["a.xml", "a.xml/b"],                ["a.xmlx", "r/a.xml"]),
    ("reports/*.xml", ["reports/a.xml"],                   ["reports/x/a.xml", "a.xml"]),
    ("**/*.pyc",      ["a.pyc", "x/a.pyc", "x/y/a.pyc"],   ["a.py"]),
    ("a/**/b",        ["a/b", "a/x/b", "a/x/y/b/c"],       ["a", "ab"]),
    ("a/**",          ["a/b", "a/b/c"],                    ["a", "b"]),
    ("**",            ["a", "a/b"],                        []),
    ("a?c",           ["abc"],                             ["a/c", "abbc"]),
    ("a+(b)[c]",      ["a+(b)[c]"],                        ["aab", "abc"]),
]  # fmt: skip


@pytest.mark.parametrize(("glob", "meant", "not_meant"), TABLE)
def test_pattern(glob: str, meant: list[str], not_meant: list[str]) -> None:
    is_meant = selector([parse_glob(glob)])
    assert [path for path in [*meant, *not_meant] if is_meant(path)] == meant


def test_what_is_excluded_is_not_meant() -> None:
    is_meant = selector(["lib"], ["lib/tests", "**/*.pyc"])
    assert [path for path in ("lib/a", "lib/tests/b", "lib/a.pyc") if is_meant(path)] == ["lib/a"]


@pytest.mark.parametrize("wrong", ["/a", "../a", "a/../b", "", 3, None, "a\nb", "a\\b"])
def test_what_reaches_outside_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a path inside the workspace"):
        parse_glob(wrong)
