"""nginx's quoting: double quotes with backslashes; a dollar sign begins a variable where values are expressions.

Invariant: what comes out is one word on one line, whatever goes in; control characters are refused.
Vendor's page: https://nginx.org/en/docs/beginners_guide.html#conf_structure
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from manor.errors import InvalidEstate

PLAIN = re.compile(r"[A-Za-z0-9_./:@,+=-]+")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]+")
HOST = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9_])?")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DOLLAR = "${manor_dollar}"
"""A variable of ours whose value is `$`: nginx has no escape for it."""


def word(value: object) -> str:
    """Return a value as one word where nginx takes it literally. Raises InvalidEstate for control characters."""
    text = str(value)
    if CONTROL.search(text):
        raise InvalidEstate([f"nginx: {text!r} has a control character, which its configuration can't hold; remove it"])
    if PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def value(text: str) -> str:
    """Return a literal text as one word where nginx expects an expression."""
    return word(text).replace("$", DOLLAR)


def path(where: object) -> str:
    """Return a path of the host. Raises InvalidEstate for one with a dollar sign, which would be a variable."""
    if "$" in str(where):
        raise InvalidEstate(
            [f"nginx: {str(where)!r} has a dollar sign, which its paths can't have; move the estate, or its state with MANOR_STATE, to a folder without one"]
        )
    return word(where)


def identifier(name: str) -> str:
    """Return the name of a service as part of an upstream's name. Raises InvalidEstate."""
    if not IDENTIFIER.fullmatch(name):
        raise InvalidEstate([f"nginx: {name!r} can't be a name; use letters, digits, `-`, `_`"])
    return name


def host_name(host: str) -> str:
    """Return a host of a route; patterns are refused. Raises InvalidEstate."""
    if not HOST.fullmatch(host):
        raise InvalidEstate([f"nginx: {host!r} is not a host name; use a-z, 0-9, `.`, `-`"])
    return host


def url_path(where: str) -> str:
    """Return a path of a URL as a literal word. Raises InvalidEstate unless it begins with `/`."""
    if not where.startswith("/"):
        raise InvalidEstate([f"nginx: {where!r} is not a path; begin with /"])
    return word(where)


def seconds(amount: float) -> str:
    """Return a time as nginx writes it; never 0."""
    return f"{max(1, round(amount * 1000))}ms"


@dataclass(frozen=True)
class Block:
    """A directive with others inside."""

    title: str
    lines: tuple[Block | str, ...]

    def text(self, indent: str = "") -> str:
        """Return it as nginx reads it; verbatim lines keep their own indent relative to ours."""
        inside = "".join(line.text(indent + "    ") if isinstance(line, Block) else f"{indent}    {line}\n" if line else "" for line in self.lines)
        return f"{indent}{self.title} {{\n{inside}{indent}}}\n"
