"""Programs' and tiers' logs of an environment: the last lines of all by time, or of each where one tells no times, and what comes after.

Invariant: reads only. A file that is renamed away is read to its end before the new one is begun; one that is cut off is read from its start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator
from dataclasses import dataclass, field

from manor.errors import ManorError, Unreachable, UsageError
from manor.estate.layout import SLOTS, instance_name, slot_program
from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.observe.edge import LogFile, is_readable, list_files, parse_files, read_part
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.site import Site
from manor.state import releases
from manor.state.words import Traffic
from manor.workflows.context import Context
from manor.workflows.log_lines import Line, ParseAccess, has_times, merge, read_lines

LOOK_SECONDS = 0.5
PIECE_BYTES = 256 * 1024
AVERAGE_LINE_BYTES = 400


@dataclass(frozen=True)
class Wanted:
    """Which logs a person wants."""

    name: str = ""
    """A service, else a tier's role, product or key; empty: every program."""
    host: str = ""
    slot: str = ""
    access: bool = False
    """Access logs of tiers instead of what programs print."""
    tier: str = ""
    """A tier's role, product or key, also where a service has the same name; then `name` is empty."""


@dataclass(frozen=True)
class Source:
    """One log on one host."""

    host: str
    """`<environment>/<host>`."""
    name: str
    path: HostPath
    subject: str
    """Whose log it is, as ownership knows it."""
    runner: Runner
    parse: ParseAccess | None = None
    service: str = ""
    """Only records of this service."""
    is_serving: bool = False
    """Whether it is the log of a slot that has traffic."""


def find_sources(site: Site, wanted: Wanted) -> list[Source]:
    """Return the logs that are wanted. Raises UsageError if there is none."""
    hosts = [host for host in site.hosts.values() if wanted.host in ("", host.name)]
    found = [source for host in hosts for source in (access_sources(site, host, wanted) if wanted.access else program_sources(site, host, wanted))]
    if found:
        return found
    services = sorted(site.wiring.environment.services)
    tiers = sorted({tier.node.role.value for host in site.hosts.values() for tier in host.tiers})
    raise UsageError(
        f"{site.wiring.environment.name} has no such log; services: {', '.join(services)}; tiers: {', '.join(tiers)}; hosts: {', '.join(site.hosts)}"
    )


def program_sources(site: Site, host: DesiredHost, wanted: Wanted) -> Iterator[Source]:
    """Yield the logs of a host's programs."""
    name, runner = f"{site.wiring.environment.name}/{host.name}", site.runners[host.name]
    of_tiers = {program.name: tier for tier in host.tiers for program in tier.programs}
    serving = serving_programs(site, host.name)
    for program in host.supervised.programs:
        tier = of_tiers.get(program.name)
        is_wanted = is_wanted_tier(site, tier, wanted) if tier else is_slot_of(program.name, wanted)
        if is_wanted and not (tier and wanted.slot):
            yield Source(name, program.name, program.log, program.subject, runner, is_serving=program.name in serving)


def serving_programs(site: Site, host: str) -> frozenset[str]:
    """Return the programs of the slots that have traffic on a host, as the store remembers it."""
    rows = site.store.read_now(releases.slots, site.wiring.environment.name)
    mine = (row for row in rows if row.instance == instance_name(row.service, host) and row.traffic is Traffic.READY)
    return frozenset(slot_program(row.service, row.slot) for row in mine)


def access_sources(site: Site, host: DesiredHost, wanted: Wanted) -> Iterator[Source]:
    """Yield the access logs of a host's tiers; for a service those of the first tier, only its requests."""
    is_service = wanted.name in site.wiring.environment.services
    name, runner = f"{site.wiring.environment.name}/{host.name}", site.runners[host.name]
    for tier in host.tiers:
        if tier.node.is_first if is_service else is_wanted_tier(site, tier, wanted):
            service = wanted.name if is_service else ""
            yield Source(name, tier.node.key, tier.node.folders.access_log, tier.node.subject, runner, tier.proxy.parse_access, service)


def is_wanted_tier(site: Site, tier: DesiredTier, wanted: Wanted) -> bool:
    """Tell whether a tier is meant; a service of the same name goes before it, unless the tier is asked for as such."""
    if wanted.tier:
        return is_named(tier, wanted.tier)
    return wanted.name not in site.wiring.environment.services and is_named(tier, wanted.name)


def is_named(tier: DesiredTier, name: str) -> bool:
    """Tell whether a name means a tier: its role, product or key; no name means every tier."""
    return name in ("", tier.node.role.value, tier.node.product, tier.node.key)


def is_slot_of(program: str, wanted: Wanted) -> bool:
    """Tell whether a program is the wanted service's, in the wanted slot."""
    if wanted.tier:
        return False
    slots = [wanted.slot] if wanted.slot else SLOTS
    names = [slot_program(wanted.name, slot) for slot in slots]
    return program in names if wanted.name else any(program.endswith(f"-{slot}") for slot in slots)


@dataclass
class Reader:
    """How far a log was read."""

    source: Source
    inode: int = 0
    offset: int = 0
    rest: bytes = b""
    time: float | None = None
    complaint: str = ""

    async def last(self, count: int) -> list[Line]:
        """Return the last lines, also from a file that was rotated away lately."""
        files = await self._files()
        texts: list[str] = []
        for file in reversed([file for file in files if is_readable(file)]):
            texts = [*await self._last_of(file, count - len(texts)), *texts]
            if len(texts) >= count:
                break
        current = next((file for file in files if file.path == self.source.path), None)
        self.inode, self.offset = (current.inode, current.size) if current else (0, 0)
        return self._lines(texts[-count:] if count else [])

    async def _last_of(self, file: LogFile, count: int) -> list[str]:
        size = min(file.size, max(PIECE_BYTES, count * AVERAGE_LINE_BYTES)) if count > 0 else 0
        if size == 0:
            return []
        text = (await self.source.runner.run(read_part(file.path, file.size - size, size, self.source.subject))).text
        lines = text.splitlines()
        return (lines if size == file.size else lines[1:])[-count:]

    async def more(self) -> list[Line]:
        """Return what was written since."""
        files = {file.inode: file for file in await self._files()}
        if self.inode and self.inode not in files:  # renamed away while they were listed: by now it has its new name
            files = {file.inode: file for file in await self._files()}
        current = next((file for file in files.values() if file.path == self.source.path), None)
        texts: list[str] = []
        old = files.get(self.inode)
        if current is not None and self.inode not in (0, current.inode):
            texts += await self._grown(old) if old is not None and is_readable(old) else []
            self.offset, self.rest = 0, b""
        if current is None:
            return self._lines(texts)
        if current.inode == self.inode and current.size < self.offset:
            self.offset, self.rest = 0, b""
        self.inode = current.inode
        return self._lines([*texts, *await self._grown(current)])

    async def _grown(self, file: LogFile) -> list[str]:
        content = self.rest
        while self.offset < file.size:
            piece = (await self.source.runner.run(read_part(file.path, self.offset, min(PIECE_BYTES, file.size - self.offset), self.source.subject))).out
            if not piece:
                break
            content, self.offset = content + piece, self.offset + len(piece)
        *whole, self.rest = content.split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    async def _files(self) -> tuple[LogFile, ...]:
        return parse_files(await self.source.runner.run(list_files(self.source.path, self.source.subject)))

    def _lines(self, texts: Iterable[str]) -> list[Line]:
        found = list(read_lines(self.source.host, self.source.name, texts, self.source.parse, self.time))
        self.time = found[-1].time if found else self.time
        if self.source.parse is None:
            return found
        return [line for line in found if line.record is not None and self.source.service in ("", line.record.service)]


@dataclass
class Logs:
    """The logs of environments, read together."""

    readers: list[Reader] = field(default_factory=list)

    async def last(self, count: int) -> list[Line]:
        """Return the last lines of all together by time; where a log tells no times, those of each log, serving slots first.

        Raises Unreachable if no host answers.
        """
        found = await asyncio.gather(*(self._asked(reader, reader.last(count)) for reader in self.readers))
        complaints = [reader.complaint for reader in self.readers if reader.complaint]
        if complaints and len(complaints) == len(self.readers):
            raise Unreachable(complaints[0])
        return last_lines(list(zip((reader.source for reader in self.readers), found, strict=True)), count)

    async def follow(self, sleep_seconds: float = LOOK_SECONDS) -> AsyncGenerator[Line, None]:
        """Yield what is written from now on, until nobody wants more."""
        while True:
            for line in merge(await asyncio.gather(*(self._asked(reader, reader.more()) for reader in self.readers))):
                yield line
            await asyncio.sleep(sleep_seconds)

    @staticmethod
    async def _asked(reader: Reader, answer: Awaitable[list[Line]]) -> list[Line]:
        try:
            found = await answer
        except ManorError as error:
            is_new, reader.complaint = not reader.complaint, str(error)
            return [Line(reader.source.host, reader.source.name, f"cannot be read: {error}")] if is_new else []
        reader.complaint = ""
        return found


def last_lines(logs: list[tuple[Source, list[Line]]], count: int) -> list[Line]:
    """Return the last lines of several logs: so many of all if every log tells times, else so many of each, one log after the other."""
    if not count:
        return []
    if all(has_times(lines) for _, lines in logs if lines):
        return list(merge(lines for _, lines in logs))[-count:]
    return [line for _, lines in sorted(logs, key=lambda log: not log[0].is_serving) for line in lines[-count:]]


def open_logs(context: Context, environments: Iterable[str], wanted: Wanted) -> Logs:
    """Return the wanted logs of environments. Raises UsageError where there is none."""
    return Logs([Reader(source) for name in environments for source in find_sources(context.site(name), wanted)])
