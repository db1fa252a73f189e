"""Every way in which Manor says no, on one screen.

Invariant: each class has the exit code that a script can act on (docs/exit-codes.md); only `cli` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence


class ManorError(Exception):
    """Something a person has to know; `str()` of it is what they read."""

    exit_code = 5


class UsageError(ManorError):
    """The command line or request itself is wrong."""

    exit_code = 2


class DifferencesFound(ManorError):
    """Differences were looked for and found, or a gate or a budget failed."""

    exit_code = 1


class InvalidEstate(ManorError):
    """The estate file is wrong; carries every problem of it at once."""

    exit_code = 3

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the problems, each `file:line: path: what is wrong; what to do`."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Refused(ManorError):
    """A vendor's checker refused a file; what runs goes on as it was."""

    exit_code = 4


class NotOurs(ManorError):
    """Ownership or `untouchable` forbids the act; names the rule. Nothing was done."""

    exit_code = 4


class ApplyFailed(ManorError):
    """A change failed, and what was there before is back in place."""

    exit_code = 5


class NotRestored(ManorError):
    """A change failed and could not be undone; says how to mend it by hand."""

    exit_code = 6


class Paused(ManorError):
    """An operation stopped at a safe place and waits for a decision; says which and how to go on."""

    exit_code = 5


class Busy(ManorError):
    """Somebody else holds the lease; says who, doing what, since when."""

    exit_code = 7


class FencedOff(Busy):
    """A newer token has been seen: this executor was succeeded by another and must stop."""


class Unreachable(ManorError):
    """A host, socket or service does not answer."""

    exit_code = 8


class CommandFailed(ManorError):
    """A command or request gave a code that it must not give; carries the code and the last lines it wrote."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the message and the exit code or HTTP status."""
        super().__init__(message)
        self.code = code


class TimedOut(Unreachable):
    """It was bounded in time, and the time is up."""
