"""What a person reads about an act: the command as shown, the last lines that it wrote, without one secret.

Invariant: pure; every text that leaves a runner in an exception passes `masked` (docs/execution.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from manor.execution.values import Act, Command, Connect, HttpRequest, Secret, SocketCommand

LAST_LINES = 6
LONGEST_LINE = 400
SHORTEST_SECRET_LINE = 4


def shown(act: Act) -> str:
    """Return how an act is shown to a person, secrets as `***`."""
    match act:
        case Command(argv=argv):
            return " ".join("***" if isinstance(word, Secret) else shlex.quote(word) for word in argv)
        case SocketCommand(socket=socket, line=line):
            return f"{line.splitlines()[0] if line else ''} > {socket}"
        case HttpRequest(method=method, url=url, socket=socket):
            return f"{method} {url}" + (f" over {socket}" if socket else "")
        case Connect(address=address, port=port):
            return f"connect to {address}:{port}"
        case _:
            return f"{type(act).__name__} {act.path}"


def secrets_of(act: Act) -> tuple[str, ...]:
    """Return the values in an act that nobody may see, longest first; of one with several lines each line too."""
    match act:
        case Command(argv=argv, env=env):
            held: Iterable[object] = (*argv, *env.values())
        case HttpRequest(headers=headers):
            held = headers.values()
        case _:
            held = ()
    values = {value for item in held if isinstance(item, Secret) for value in _spellings(item.value)}
    return tuple(sorted(values, key=len, reverse=True))


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text with each of these values, longest first, as `***`."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def last_lines(output: bytes, secrets: Iterable[str] = ()) -> str:
    """Return the last lines of an output, indented, cut to a readable width, secrets masked before anything is cut."""
    text = masked(output.decode("utf-8", "replace"), secrets)
    lines = [line.rstrip()[:LONGEST_LINE] for line in text.splitlines() if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-LAST_LINES:])


def revealed(word: str | Secret) -> str:
    """Return a word in clear, for the one moment in which it is handed over."""
    return word.value if isinstance(word, Secret) else word


def _spellings(value: str) -> set[str]:
    lines = {line for line in value.splitlines() if len(line) >= SHORTEST_SECRET_LINE}
    return {value, *lines} - {""}
