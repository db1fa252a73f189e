"""What the first tier's access log says about a window: the receipt's second and third column.

What was logged since a moment is found by halving, and read across rotations by rename, in pieces of a few megabytes. A mark, set when a
rollout begins, tells afterwards whether something was cut off or rotated away meanwhile.

Invariant: a line that can't be had or understood makes the counts incomplete and says why; it never makes them smaller in silence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace

from manor.errors import ManorError
from manor.execution.base import Runner
from manor.execution.values import Command, Completed, HostPath, Touch
from manor.integrations.proxies.base import AccessRecord
from manor.observe.window import Window

CHUNK_BYTES = 8 * 1024 * 1024
LOOK_BYTES = 256 * 1024
SLACK_SECONDS = 5.0
"""Lines of several processes are that far out of order at most: logs are flushed every second."""
COMPRESSED = (".gz", ".xz", ".zst", ".bz2")
LIST = 'for file in "$1" "$1".*; do [ ! -f "$file" ] || stat -c "%i %s %Y %n" -- "$file"; done'
PART = 'tail -c "+$2" -- "$1" | head -c "$3"'

ParseAccess = Callable[[str], AccessRecord | None]


@dataclass(frozen=True)
class LogFile:
    """One file of a log, the current one or a rotated one."""

    path: HostPath
    inode: int
    size: int
    """Bytes."""
    modified: int
    """Seconds since 1970."""


@dataclass(frozen=True)
class LogMark:
    """How a log stood at a moment."""

    inode: int = 0
    """Of the current file; 0: there was none yet."""
    size: int = 0
    known: frozenset[int] = frozenset()
    """Inodes of all its files."""


@dataclass(frozen=True)
class Part:
    """A part of a file to read: from an offset to an end."""

    path: HostPath
    offset: int
    end: int
    subject: str


@dataclass(frozen=True)
class EdgeCounts:
    """Requests of one service in a window, as the first tier saw them."""

    total: int = 0
    errors_without_upstream: int = 0
    """5xx that this chain itself answered: nothing behind gave a status."""
    errors_with_upstream: int = 0
    """5xx that the service gave: the receipt's third column."""
    ended_by_us: int = 0
    ended_by_client: int = 0
    cached: int = 0
    reached_slot: int = 0
    incomplete: tuple[str, ...] = ()
    """Why the counts may be too small."""

    def plus(self, other: EdgeCounts) -> EdgeCounts:
        """Return the sum over several hosts of the first tier."""
        return EdgeCounts(
            self.total + other.total,
            self.errors_without_upstream + other.errors_without_upstream,
            self.errors_with_upstream + other.errors_with_upstream,
            self.ended_by_us + other.ended_by_us,
            self.ended_by_client + other.ended_by_client,
            self.cached + other.cached,
            self.reached_slot + other.reached_slot,
            self.incomplete + other.incomplete,
        )


def list_files(log: HostPath, subject: str) -> Command:
    """Return the command that lists a log's files; `subject` is whose log it is: one that is never to be read is not."""
    return Command(("/bin/sh", "-c", LIST, "list", str(log)), Touch(subject))


def parse_files(completed: Completed) -> tuple[LogFile, ...]:
    """Return the files, oldest first. Raises ManorError."""
    try:
        files = [parse_file(line) for line in completed.text.splitlines()]
    except ValueError as error:
        raise ManorError(f"not a list of files: {completed.text[:200]!r}") from error
    return tuple(sorted(files, key=lambda file: (file.modified, -len(file.path.name), file.path.name)))


def parse_file(line: str) -> LogFile:
    """Return one file. Raises ValueError."""
    inode, size, modified, path = line.split(" ", 3)
    return LogFile(HostPath(path), int(inode), int(size), int(modified))


def mark_of(files: Iterable[LogFile], log: HostPath) -> LogMark:
    """Return how a log stands."""
    known = tuple(files)
    current = next((file for file in known if file.path == log), None)
    return LogMark(current.inode if current else 0, current.size if current else 0, frozenset(file.inode for file in known))


def missing_since(files: Iterable[LogFile], log: HostPath, mark: LogMark) -> tuple[str, ...]:
    """Return what can't be had of what was logged since the mark, in words."""
    now = {file.inode: file for file in files}
    marked = now.get(mark.inode)
    if mark.inode == 0:
        return ()
    if marked is None:
        return (f"{log}: rotated away since the window began",)
    was_copied = marked.path == log and bool(now.keys() - mark.known)
    if marked.size < mark.size or was_copied:
        return (f"{log}: cut off since the window began",)
    return ()


def files_since(files: Iterable[LogFile], moment: float) -> tuple[LogFile, ...]:
    """Return the files that were written to since a moment, oldest first."""
    return tuple(file for file in files if file.modified >= moment - SLACK_SECONDS)


def is_readable(file: LogFile) -> bool:
    """Tell whether a file is text."""
    return file.path.suffix not in COMPRESSED


def unreadable(files: Iterable[LogFile]) -> tuple[str, ...]:
    """Return what is said about compressed files."""
    return tuple(f"{file.path}: compressed, not read" for file in files if not is_readable(file))


def read_part(path: HostPath, begin: int, size: int, subject: str) -> Command:
    """Return the command that prints so many bytes from an offset."""
    return Command(("/bin/sh", "-c", PART, "part", str(path), str(begin + 1), str(size)), Touch(subject))


async def part_since(runner: Runner, file: LogFile, moment: float, parse: ParseAccess, subject: str) -> Part:
    """Return a part of a file that holds everything since a moment, and little before it. Lines are in order of time, nearly."""
    low, high = 0, file.size
    while high - low > LOOK_BYTES:
        middle = (low + high) // 2
        lines = (await runner.run(read_part(file.path, middle, LOOK_BYTES, subject))).text.split("\n")[1:-1]
        times = (record.time for record in map(parse, lines) if record)
        is_before = next(times, moment) < moment - SLACK_SECONDS
        low, high = (middle, high) if is_before else (low, middle)
    return Part(file.path, low, file.size, subject)


async def read_lines(runner: Runner, part: Part) -> AsyncIterator[str]:
    """Yield the whole lines of a part: not the one that it begins in, nor one that is still being written at its end."""
    begin, rest = part.offset, b""
    is_inside = part.offset > 0
    while begin < part.end:
        chunk = (await runner.run(read_part(part.path, begin, min(CHUNK_BYTES, part.end - begin), part.subject))).out
        if not chunk:
            return
        begin += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines[is_inside:]:
            yield line.decode("utf-8", "replace")
        is_inside = is_inside and not lines


class Tally:
    """Counts records into windows."""

    def __init__(self, service: str, windows: Iterable[Window], parse: ParseAccess) -> None:
        """Count this service's records, each window for itself."""
        self._service = service
        self._parse = parse
        self._not_understood = 0
        self._counts = {window: EdgeCounts() for window in windows}

    def take(self, line: str) -> None:
        """Count one line; a tier's own messages, which are no JSON objects, are none."""
        record = self._parse(line)
        if record is None and line.startswith("{"):
            self._not_understood += 1
        if record is None or record.service != self._service:
            return
        for window, counts in self._counts.items():
            if window.holds(record.time):
                self._counts[window] = counted(counts, record)

    def counts(self, window: Window, incomplete: tuple[str, ...] = ()) -> EdgeCounts:
        """Return what was counted."""
        unread = (f"{self._not_understood} lines not understood",) if self._not_understood else ()
        return replace(self._counts[window], incomplete=incomplete + unread)


def counted(counts: EdgeCounts, record: AccessRecord) -> EdgeCounts:
    """Return the counts with one more request."""
    is_error = record.status >= 500
    has_upstream = record.upstream_status is not None
    return EdgeCounts(
        total=counts.total + 1,
        errors_without_upstream=counts.errors_without_upstream + (is_error and not has_upstream),
        errors_with_upstream=counts.errors_with_upstream + (is_error and has_upstream),
        ended_by_us=counts.ended_by_us + (record.ended_by == "us"),
        ended_by_client=counts.ended_by_client + (record.ended_by == "client"),
        cached=counts.cached + (record.cache == "hit"),
        reached_slot=counts.reached_slot + (record.slot != ""),
        incomplete=counts.incomplete,
    )


async def mark_log(runner: Runner, log: HostPath, subject: str) -> LogMark:
    """Return how a log stands now. Raises Unreachable, TimedOut, NotOurs."""
    return mark_of(parse_files(await runner.run(list_files(log, subject))), log)


async def observe_edge(
    runner: Runner,
    log: HostPath,
    mark: LogMark,
    parse: ParseAccess,
    service: str,
    windows: Iterable[Window],
    restarts: tuple[str, ...] = (),
    *,
    subject: str,
) -> tuple[EdgeCounts, ...]:
    """Return the counts of each window on one host of the first tier.

    `subject` is the tier, as ownership knows it. `mark` was set when the first act of the rollout was about to begin. `restarts` says, in
    words, which of the tier's processes began within the windows: what they had in flight left no line. Raises Unreachable, TimedOut, NotOurs,
    ManorError.
    """
    asked = tuple(windows)
    begin = min(window.begin for window in asked)
    files = parse_files(await runner.run(list_files(log, subject)))
    wanted = files_since(files, begin)
    tally = Tally(service, asked, parse)
    for file in filter(is_readable, wanted):
        async for line in read_lines(runner, await part_since(runner, file, begin, parse, subject)):
            tally.take(line)
    incomplete = missing_since(files, log, mark) + unreadable(wanted) + restarts
    return tuple(tally.counts(window, incomplete) for window in asked)


def restarts_within(window: Window, started: Iterable[tuple[str, float | None]]) -> tuple[str, ...]:
    """Return what is said about processes (name, start time) that began within a window, or are not there."""
    said = []
    for name, moment in started:
        if moment is None:
            said.append(f"{name}: not running")
        elif window.holds(moment):
            said.append(f"{name}: restarted {moment - window.begin:.0f} s into the window")
    return tuple(said)
