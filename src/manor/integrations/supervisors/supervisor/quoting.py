"""Words of a command line in supervisord's ini file.

A value passes four readers: the ini parser (a `;` or `#` after white space begins a comment, even inside quotes; lines end values),
`%` expansion, and `shlex.split`. What none of them can carry (line ends, NUL, what is no UTF-8) is refused, never altered.

Invariant: `shlex.split(expand(ini(quote_command(words)))) == words`, or InvalidEstate.
Vendor: https://supervisord.org/configuration.html#program-x-section-settings
"""

from __future__ import annotations

import re
import signal

from manor.errors import InvalidEstate
from manor.execution.values import HostPath

PLAIN = re.compile(r"[A-Za-z0-9_@+:,./=-]+")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
UNCARRIED = re.compile(r"[\n\r\0]")
SIGNALS = frozenset(member.name.removeprefix("SIG") for member in signal.Signals)


def quote_command(words: tuple[str, ...]) -> str:
    """Return the words as one value. Raises InvalidEstate for what supervisord cannot carry."""
    return " ".join(quote_word(word) for word in words)


def quote_word(word: str) -> str:
    """Return one word, quoted if need be. Raises InvalidEstate."""
    if PLAIN.fullmatch(word):
        return word
    quoted = "'" + carried(word).replace("'", "'\"'\"'") + "'"
    return re.sub(r"([;#])", r"''\1", quoted).replace("%", "%%")


def quote_path(path: HostPath) -> str:
    """Return a path that is a whole value, which is expanded but not split into words. Raises InvalidEstate."""
    text = carried(str(path))
    if text != text.strip() or re.search(r"[;#]", text):
        raise InvalidEstate([f"{text!r}: supervisord takes no path with `;`, `#` or white space at an end; put the state folder elsewhere"])
    return text.replace("%", "%%")


def carried(word: str) -> str:
    """Return the word if an ini file can carry it. Raises InvalidEstate."""
    if UNCARRIED.search(word):
        raise InvalidEstate([f"run.command: {word!r} has a line end or a NUL in it; put the text into a script of the release and call that"])
    if any("\ud800" <= character <= "\udfff" for character in word):
        raise InvalidEstate([f"run.command: {word!r} is no valid UTF-8; write it as UTF-8"])
    return word


def checked_name(name: str) -> str:
    """Return a program's name. Raises InvalidEstate for one that would end its section or name a group's member."""
    if not NAME.fullmatch(name):
        raise InvalidEstate([f"programs: {name!r} is no name for a program; use letters, digits, `.`, `_`, `-`"])
    return name


def checked_signal(name: str) -> str:
    """Return a signal's name without SIG. Raises InvalidEstate."""
    plain = name.upper().removeprefix("SIG")
    if plain not in SIGNALS:
        raise InvalidEstate([f"run.stop.signal: {name!r} is no signal; use e.g. TERM, INT or QUIT"])
    return plain
