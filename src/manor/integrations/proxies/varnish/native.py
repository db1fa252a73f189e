"""VCL's way of writing: quoted strings, regular expressions, durations.

Invariant: no text that comes from the estate can end a string or a comment.
https://varnish-cache.org/docs/7.1/reference/vcl.html
"""

from __future__ import annotations

import re

REGEX_SPECIAL = re.compile(r"[^A-Za-z0-9_/~-]")


def string(text: str) -> str:
    """Return a VCL string. A short string has no escapes at all, so what it cannot hold is refused. Raises ValueError."""
    if '"' in text or any(ord(one) < 0x20 or ord(one) == 0x7F for one in text):
        raise ValueError(f"{text!r} cannot be written in VCL; leave out quotes and control characters")
    return f'"{text}"'


def regex(text: str) -> str:
    """Return a regular expression that matches just this text, every special byte written by its number."""
    return "".join(f"\\x{byte:02x}" if REGEX_SPECIAL.match(chr(byte)) else chr(byte) for byte in text.encode())


def either(texts: tuple[str, ...]) -> str:
    """Return a group that matches one of the texts."""
    return "(?:" + "|".join(regex(text) for text in texts) + ")"


def duration(seconds: float) -> str:
    """Return e.g. `60.000s`."""
    return f"{seconds:.3f}s"


def identifier(text: str) -> str:
    """Return a VCL name for a name of ours: different names give different ones."""
    return "".join(one if one.isascii() and one.isalnum() else f"_{ord(one):x}_" for one in text)


def under(path: str) -> str:
    """Return a regular expression for URLs whose path is this or lies under it by whole segments."""
    if path == "/":
        return "^/"
    return f"^{regex(path)}" if path.endswith("/") else f"^{regex(path)}(?:[/?]|$)"


def exactly(path: str) -> str:
    """Return a regular expression for URLs with this path and any query."""
    return f"^{regex(path)}(?:\\?|$)"
