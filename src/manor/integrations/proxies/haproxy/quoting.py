"""HAProxy's quoting: strong quotes for words, doubled percent signs in formats.

Invariant: what comes out is one word on one line, whatever goes in; control characters are refused.
Vendor's page: https://docs.haproxy.org/2.6/configuration.html#2.2
"""

from __future__ import annotations

import re

from manor.errors import InvalidEstate

PLAIN = re.compile(r"[A-Za-z0-9_./:@,+-]+")
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def word(value: object) -> str:
    """Return a value as one word. Raises InvalidEstate for control characters."""
    text = str(value)
    if CONTROL.search(text):
        raise InvalidEstate([f"haproxy: {text!r} has a control character, which its configuration can't hold; remove it"])
    if PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def log_format(value: str) -> str:
    """Return a literal text as one word where HAProxy expects a format."""
    return word(value.replace("%", "%%"))


def identifier(value: str) -> str:
    """Return the name of a section or server. Raises InvalidEstate for one that HAProxy can't have."""
    if not IDENTIFIER.fullmatch(value):
        raise InvalidEstate([f"haproxy: {value!r} can't be a name; use letters, digits, `-`, `_`, `.`, `:`"])
    return value


def map_key(value: str) -> str:
    """Return a key of a map file. Raises InvalidEstate for blanks and what would be a comment."""
    if not value or re.search(r"\s", value) or CONTROL.search(value) or value.startswith("#"):
        raise InvalidEstate([f"haproxy: {value!r} can't be a key of a map; it must not be empty, have blanks or begin with #"])
    return value


def milliseconds(seconds: float) -> str:
    """Return a time as HAProxy writes it; never 0, which would mean for ever."""
    return f"{max(1, round(seconds * 1000))}ms"


def block(title: str, *groups: tuple[str, ...]) -> str:
    """Return a section of the configuration."""
    lines = [line for group in groups for line in group if line]
    return "\n".join([title, *(f"  {line}" for line in lines)]) + "\n"
