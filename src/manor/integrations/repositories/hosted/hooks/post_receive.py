"""Shows the pusher what becomes of the push: git's post-receive hook, run alone by `python3 -I -S`.

Invariant: always ends with 0: the refs have moved, and whether anybody watches changes nothing.
Invariant: not needed for anything: the controller compares refs with its ledger anyway.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from urllib.parse import urlsplit

QUIET_SECONDS = 90.0
"""The controller sends at least an empty line every 15 s."""


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        """Speak to the socket at `path`."""
        super().__init__("localhost", timeout=QUIET_SECONDS)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(QUIET_SECONDS)
        self.sock.connect(self.path)


def connection(callback: str) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection and the path to ask for: `http://host:port/path` or `unix:<socket>|/path`."""
    if callback.startswith("unix:"):
        place, _, path = callback.removeprefix("unix:").partition("|")
        return OverSocket(place), path
    parts = urlsplit(callback)
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=QUIET_SECONDS), parts.path


def is_detached(environment: dict[str, str]) -> bool:
    """Tell whether the pusher asked not to wait: `git push -o detach`."""
    count = int(environment.get("GIT_PUSH_OPTION_COUNT", "0"))
    return any(environment.get(f"GIT_PUSH_OPTION_{number}") == "detach" for number in range(count))


def follow(callback: str, updates: bytes, detached: bool) -> None:
    """Tell the controller and print what it answers, line by line, until it ends."""
    link, path = connection(callback)
    link.request("POST", path + ("?detach=1" if detached else ""), body=updates, headers={"Content-Type": "text/plain"})
    answer = link.getresponse()
    if answer.status != 200:
        raise http.client.HTTPException(f"the controller answered {answer.status}")
    while line := answer.readline():
        if line.strip():
            sys.stderr.write(line.decode("utf-8", "replace"))
            sys.stderr.flush()


def main() -> int:
    """Follow as long as there is something to follow."""
    updates = sys.stdin.buffer.read()
    callback = os.environ.get("MANOR_CALLBACK", "")
    try:
        if callback:
            follow(callback, updates, is_detached(dict(os.environ)))
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"manor: the push is kept; its run can't be shown now ({error}) and goes on without you\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
