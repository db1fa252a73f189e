"""Patterns for paths inside a workspace: `*` and `?` within one name, `**` over any number of folders; a folder means all below it.

Invariant: pure; a pattern never reaches outside the folder that it is applied to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from manor.estate.units import show

PLAIN = re.compile(r"[^\x00-\x1f\x7f\\]+")


def parse_glob(value: object) -> str:
    """Return a pattern without leading `./` and trailing `/`. Raises ValueError."""
    if isinstance(value, str) and PLAIN.fullmatch(value) and not value.startswith("/") and ".." not in value.split("/"):
        parts = [part for part in value.split("/") if part not in ("", ".")]
        return "/".join(parts) or "**"
    raise ValueError(f"{show(value)} is not a path inside the workspace; write a relative path or pattern, e.g. reports/*.xml or lib/**")


def selector(include: Sequence[str], exclude: Sequence[str] = ()) -> Callable[[str], bool]:
    """Return what tells whether a relative path is meant: one of `include` matches and none of `exclude`."""
    wanted, unwanted = [pattern(glob) for glob in include], [pattern(glob) for glob in exclude]
    return lambda path: any(one.fullmatch(path) for one in wanted) and not any(one.fullmatch(path) for one in unwanted)


def pattern(glob: str) -> re.Pattern[str]:
    """Return the regular expression that a whole relative path must match."""
    parts = glob.split("/")
    text = ""
    for part in parts[:-1]:
        text += "(?:[^/]+/)*" if part == "**" else f"{_name(part)}/"
    last = ".+" if parts[-1] == "**" else f"{_name(parts[-1])}(?:/.*)?"
    return re.compile(text + last, re.DOTALL)


def _name(part: str) -> str:
    return "".join("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char) for char in part)


Glob = Annotated[str, BeforeValidator(parse_glob), WithJsonSchema({"type": "string", "examples": ["reports/*.xml", "lib"]})]
