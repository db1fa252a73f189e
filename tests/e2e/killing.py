"""Kills verbs at chosen boundaries and lets the next one go on, on an estate that really runs (docs/crash-testing.md)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.estate.layout import short
from manor.operations.events import What
from manor.state import journal, leases, operations, releases
from manor.state.journal import StepRow
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import JournalEvent
from tests.e2e.estates import LiveEstate, curl, end
from tests.e2e.watching import processes_of

DECISION_SECONDS = 5.0
VERB_SECONDS = 120.0
DECIDED = {What.INTENT, What.RECOVERED, What.COMPENSATED, What.ENDED, What.REVERTING, What.SKIPPED}
KILLED = -signal.SIGKILL
FIRST = {"apply": "fence", "down": "end-probes", "service": "drain"}
"""The kind of the first step of a verb; of a rollout it is the preflight."""


@dataclass(frozen=True)
class Ended:
    """How a verb ended."""

    code: int
    decided_after: float
    """Seconds from its start to its first decision, without those in which it had work and no core was free."""
    text: str


@dataclass
class Killing:
    """A verb that is killed, and killed again, and in the end goes on to its end."""

    estate: LiveEstate
    decisions: list[float] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    """Kinds of step that it was killed at, in order."""

    def at_each_kind(self, words: Sequence[str], *, plan: int = 0, point: str = "after_act", ok: tuple[int, ...] = (0,)) -> Ended:
        """Run a verb and let it die at the first step of each kind; `plan` 1: of the way back. `resume` goes on each time."""
        current = tuple(words)
        at = FIRST.get(words[0], "preflight")
        while at:
            died = self.run(current, f"{at}:{point if self.killed or not plan else 'after_act'}")
            assert died.code == KILLED, f"{' '.join(current)} was not killed at {at}: {died.code}\n{died.text[-3000:]}"
            steps = kept(self.estate).steps
            if any(row.plan for row in steps) or not plan:
                self.killed.append(next((row.kind for row in steps if str(row.seq) == at), at))
            at = self.next_kind(steps, plan)
            current = ("resume", "--wait", "5")
        return self.finish(current, ok)

    def next_kind(self, steps: Sequence[StepRow], plan: int) -> str:
        """Return the number of the next step of a kind at which nothing was killed yet; before there is a way back, of its first step to come."""
        if plan and not any(row.plan for row in steps):
            return str(max(row.seq for row in steps) + 1)
        waiting = [row for row in steps if row.plan >= plan and row.outcome == "pending" and row.intent_at is None]
        return next((str(row.seq) for row in waiting if row.kind not in self.killed), "")

    def through(self, words: Sequence[str], points: Iterable[str], ok: tuple[int, ...] = (0,)) -> Ended:
        """Run a verb and let it die at each point in turn, each time gone on with by `resume`; return how the last one ended."""
        current = tuple(words)
        for point in points:
            died = self.run(current, point)
            assert died.code == KILLED, f"{' '.join(current)} was not killed at {point}: {died.code}\n{died.text[-3000:]}"
            current = ("resume", "--wait", "5")
        return self.finish(current, ok)

    def finish(self, current: Sequence[str], ok: tuple[int, ...]) -> Ended:
        """Let it go on to its end; hold how it ends, and that each decision came in time."""
        ended = self.run(current, "")
        assert ended.code in ok, f"{' '.join(current)}: exit code {ended.code}\n{ended.text[-3000:]}"
        assert max(self.decisions, default=0.0) < DECISION_SECONDS, self.decisions
        return ended

    def run(self, words: Sequence[str], point: str) -> Ended:
        """Run a verb to its end or its death."""
        began = time.monotonic()
        crash = {"MANOR_CRASH_ALLOWED": "1", "MANOR_CRASH_AT": point} if point else {}
        process = self.estate.start(*words, "--json", **crash)
        lines: list[str] = []
        decided = 0.0
        try:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                if not decided and is_decision(line):
                    decided = time.monotonic() - began - seconds_without_a_core(process.pid)
            process.wait(VERB_SECONDS)
        finally:
            end(process)
        if words[0] == "resume":
            self.decisions.append(decided)
        return Ended(process.returncode, decided, "".join(lines))


def seconds_without_a_core(pid: int) -> float:
    """Return for how long a process had work and others had the cores: https://docs.kernel.org/scheduler/sched-stats.html, proc/<pid>/schedstat."""
    waited = 0.0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended since
            waited += int((thread / "schedstat").read_text().split()[1]) / 1e9
    return waited


def is_decision(line: str) -> bool:
    """Tell whether a line says what is done with a step."""
    try:
        row: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and row.get("event") in set(DECIDED)


@dataclass(frozen=True)
class Kept:
    """What the store says, read beside whoever writes."""

    operations: tuple[Operation, ...]
    held: tuple[Lease, ...]
    steps: tuple[StepRow, ...]
    """Of the newest operation."""
    repeated: tuple[str, ...]
    """Of the newest operation: steps that were done twice."""


def kept(estate: LiveEstate) -> Kept:
    """Read an estate's store."""
    with Store.open(estate.folder / ".manor" / "state") as store:
        found = store.read_now(operations.recent)
        held = store.read_now(leases.standing)
        steps = store.read_now(journal.steps, found[0].id) if found else ()
        history = store.read_now(journal.history, found[0].id) if found else ()
    ends = [row.seq for row in history if row.event in (JournalEvent.DONE, JournalEvent.RECOVERED)]
    return Kept(found, held, steps, tuple(f"{row.seq} {row.kind}" for row in steps if ends.count(row.seq) > 1))


def certified(estate: LiveEstate, service: str) -> str:
    """Return the release of a service that is certified in prod; empty: none."""
    with Store.open(estate.folder / ".manor" / "state") as store:
        found = store.read_now(releases.last_certified, "prod", service)
    return short(found.id) if found else ""


def require_accepted_end(estate: LiveEstate, service: str, accepted: str, programs: int) -> None:
    """Hold the accepted ends of docs/crash-testing.md: lease free, one release everywhere, nothing left over."""
    now = kept(estate)
    assert now.held == ()
    assert not [one for one in now.operations if not one.state.is_final]
    assert all(row.outcome != "pending" for row in now.steps), [row for row in now.steps if row.outcome == "pending"]
    assert now.repeated == ()
    status = estate.status("prod")
    slots = next(row for row in status["services"] if row["name"] == service)["slots"]
    ready = {slot["server"]: slot["release"] for slot in slots if slot["seen"] == "ready" and slot["is_healthy"]}
    hosts = {slot["host"] for slot in slots}
    assert {server.rsplit("-", 1)[0] for server in ready} == hosts, slots
    assert len(ready) == len(hosts), f"both slots of a host take traffic: {slots}"
    assert set(ready.values()) == {accepted}, ready
    assert all(slot["seen"] == "maint" for slot in slots if slot["server"] not in ready), f"a mark was left on a balancer: {slots}"
    running = [words for words in processes_of(estate.folder).values() if "-m echo" in words]
    assert len(running) == programs, running
    assert not processes_of(estate.folder / ".manor" / "state" / "probes"), "a probe was left running"


def require_serves(estate: LiveEstate, door: tuple[str, int]) -> dict[str, Any]:
    """Hold that a service answers at the front door, and return what it says of itself."""
    done = curl(estate, *door, "/")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
