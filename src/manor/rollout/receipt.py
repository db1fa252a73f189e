"""The receipt: what a rollout did, and what three witnesses saw of it (docs/receipt.md).

Invariant: pure values. The three columns are never added up, a count that may be too small says so, and what was not measured is not claimed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from manor.errors import ManorError
from manor.observe.edge import EdgeCounts
from manor.observe.probe.model import Loss, Outcome, Target
from manor.observe.probe.results import Break, Recording
from manor.observe.probe.summary import Latency, Outage, judged, measured_outage, summarize
from manor.observe.window import Window
from manor.rollout.losses import NOTHING, Count, Losses
from manor.rollout.spans import ProbeSpan

RULE_OF_THREE = 3.0
"""Of n independent trials without an event the true share is below 3/n with 95 % confidence."""
UNSENT_SHARE = 0.01
"""A probe that could not send more than this share of its requests did not measure."""

Switch = Literal["counted", "timed"]
DrainPolicy = Literal["extend", "cut", "abort"]
Verdict = Literal["pass", "fail", "inconclusive", "error", "not judged"]


@dataclass(frozen=True)
class ProbeColumn:
    """First witness: clients' requests of our own, from outside, past the cache."""

    requests: tuple[str, ...]
    """What was asked, e.g. `GET /healthz`."""
    rate: float
    """A second, of all requests together."""
    sent: int
    lost: int
    new_connections: int
    losses: tuple[Loss, ...] = ()
    latency: Latency | None = None
    added: Latency | None = None
    """Against the baseline; None: there is none, or too little was answered in it."""
    baseline: Window | None = None
    """From the first request to the first act on a host."""
    compared_with: int = 0
    """Requests that were answered in it."""
    lateness_p99: float | None = None
    unasked: tuple[Window, ...] = ()
    """Between processes of the probe, while nobody carried the rollout out."""
    outage: Outage | None = None
    """The longest since something was touched."""
    sent_before: int = 0
    lost_before: int = 0
    """Before anything was touched, by requests that had ended by then."""
    late: Count = NOTHING
    """Of these, the ones that ended in the second half of the baseline."""
    alone: Count = NOTHING
    """Since the last slot was admitted or emptied."""
    incomplete: tuple[str, ...] = ()
    is_whole: bool = True
    """False: it does not cover what it had to; nothing was certified by it."""

    @property
    def all_losses(self) -> Losses:
        """What was lost, before and since something was touched."""
        return Losses(self.sent, self.lost, self.sent_before, self.lost_before, self.late, self.alone)

    @property
    def has_evidence(self) -> bool:
        """Tell whether anything was asked at all."""
        return self.sent > 0

    @property
    def bound(self) -> float | None:
        """Share of lost requests that is not exceeded with 95 % confidence; None if some were lost or none sent."""
        return min(1.0, RULE_OF_THREE / self.sent) if self.sent and not self.lost else None


@dataclass(frozen=True)
class EdgeColumn:
    """Second and third witness: the first tier's access log, beside the window of the same length before."""

    window: EdgeCounts
    before: EdgeCounts


@dataclass(frozen=True)
class Moment:
    """Something that happened, for the timeline."""

    at: float
    host: str
    text: str
    batch: int | None = None
    """Counted from 1; None: before, between or after batches."""


@dataclass(frozen=True)
class Drain:
    """How a slot was emptied."""

    slot: str
    seconds: float
    in_flight: int | None
    """When it began; None: not known."""
    left: int | None
    """Requests that were cut; None: not known."""
    was_cut: bool = False
    unguarded: str = ""
    """Where no guard would have returned it if nobody had gone on, and why."""
    websockets: int = 0
    """Open WebSockets that the program was left to close, beside the requests."""


@dataclass(frozen=True)
class Gate:
    """A condition, its verdict, and the numbers behind it."""

    name: str
    verdict: Verdict
    numbers: str


@dataclass(frozen=True)
class Override:
    """A rule that a person set aside."""

    by: str
    what: str
    why: str


@dataclass(frozen=True)
class HostEnd:
    """How a host came off."""

    host: str
    outcome: Literal["ok", "failed", "unreachable", "skipped", "pending"]
    why: str = ""
    """The evidence of the step that failed."""


@dataclass(frozen=True)
class Timing:
    """A waiting time that was in force."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Origin:
    """Where the release comes from."""

    artifact: str
    commit: str = ""
    build_url: str = ""


@dataclass(frozen=True)
class Receipt:
    """The proof of one rollout."""

    operation: str
    service: str
    environment: str
    release: str
    previous: str
    """The release that served before; empty: none."""
    strategy: Literal["rolling", "canary", "blue_green", "in_turn", "interrupt"]
    state: str
    """How the rollout ended: certified, rolled_back …"""
    switch: Switch
    switch_product: str
    window: Window
    probe: ProbeColumn
    edge: EdgeColumn | None = None
    """None: the first tier's log could not be read; `edge_missing` says why."""
    edge_missing: str = ""
    loss_budget: int = 0
    is_return: bool = False
    """To a release that was certified here before."""
    longest_outage: float | None = None
    """Seconds; for `interrupt`."""
    drain_policy: DrainPolicy | None = None
    """What was to become of old work that is not finished in time; None: written before that was kept."""
    burned: str = ""
    """Why the release is marked as failed here; empty: this rollout did not mark it."""
    spared: str = ""
    """Why it is not, although the rollout was turned round."""
    origin: Origin | None = None
    timeline: tuple[Moment, ...] = ()
    drains: tuple[Drain, ...] = ()
    gates: tuple[Gate, ...] = ()
    approvers: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    timings: tuple[Timing, ...] = ()
    hosts: tuple[HostEnd, ...] = ()

    @property
    def incomplete(self) -> tuple[str, ...]:
        """Why counts in it may be too small."""
        edge = (*self.edge.window.incomplete, *(f"before: {each}" for each in self.edge.before.incomplete)) if self.edge else (self.edge_missing,)
        return (*(f"probe: {each}" for each in self.probe.incomplete), *(f"edge: {each}" for each in edge if each))

    @property
    def is_unproven(self) -> bool:
        """Tell whether the release was certified although nothing was asked from outside."""
        return self.state == "certified" and not self.probe.has_evidence

    @property
    def losses(self) -> Losses:
        """What was lost, as this rollout is judged by it."""
        return replace(self.probe.all_losses, is_return=self.is_return)

    @property
    def is_within_budget(self) -> bool:
        """Tell whether what was lost allows to certify the release; for `interrupt`, whether the outage was short enough. Nothing seen is no yes."""
        return within_budget(self.probe, self.losses, self.strategy, self.loss_budget, self.longest_outage)


def within_budget(probe: ProbeColumn, losses: Losses, strategy: str, loss_budget: int, longest_outage: float | None) -> bool:
    """Tell whether what the probe saw is allowed; without anything seen it is not."""
    if not probe.has_evidence:
        return False
    if strategy == "interrupt":
        outage = probe.outage.seconds if probe.outage else 0.0
        return longest_outage is None or outage <= longest_outage
    return losses.is_within(loss_budget)


ADAPTER = TypeAdapter(Receipt)


def render_json(receipt: Receipt) -> str:
    """Return the receipt as JSON; `parse_receipt` gives it back."""
    return ADAPTER.dump_json(receipt, indent=2).decode()


def parse_receipt(text: str) -> Receipt:
    """Return a receipt. Raises ManorError."""
    try:
        return ADAPTER.validate_json(text)
    except ValidationError as error:
        raise ManorError(f"not a receipt: {error}") from error


def probe_column(recording: Recording, span: ProbeSpan) -> ProbeColumn:
    """Return what a recording says, all of it, and what it lacks of what it had to cover."""
    moments = [outcome.due for outcome in recording.outcomes]
    window = Window(min(moments), max(max(moments) + 1e-6, min(span.window.end, recording.last_seen))) if moments else span.window
    baseline = Window(window.begin, span.touched_at) if moments and span.touched_at is not None and span.touched_at > window.begin else None
    gaps = probe_gaps(recording, span)
    outcomes = judged(recording.outcomes, recording.config, baseline)
    result = summarize(outcomes, recording.config, window, baseline)
    early = [each for each in outcomes if baseline and window.holds(each.due) and each.done < baseline.end]
    late = [each for each in early if baseline and each.done >= baseline.middle]
    alone = [each for each in outcomes if span.alone_at is not None and each.due >= span.alone_at and window.holds(each.due)]
    targets = recording.config.targets
    return ProbeColumn(
        requests=tuple(dict.fromkeys(f"{target.method} {path}" for target in targets for path in target.paths)),
        rate=sum(target.rate for target in targets),
        sent=result.sent,
        lost=result.lost,
        new_connections=result.new_connections,
        losses=result.losses,
        latency=None if math.isnan(result.latency.p50) else result.latency,
        added=result.added,
        baseline=baseline,
        compared_with=result.compared_with,
        lateness_p99=None if math.isnan(result.lateness_p99) else result.lateness_p99,
        unasked=tuple(Window(each.begin, each.end) for each in recording.breaks),
        outage=longest_outage(set(outcomes) - set(early), window, recording.breaks),
        sent_before=len(early),
        lost_before=count_of(early).lost,
        late=count_of(late),
        alone=count_of(alone),
        incomplete=(*gaps, *probe_notes(recording, span)),
        is_whole=not gaps,
    )


def count_of(outcomes: Collection[Outcome]) -> Count:
    """Return how many there are, and were lost."""
    return Count(len(outcomes), sum(each.kind is not None for each in outcomes))


def probe_gaps(recording: Recording, span: ProbeSpan) -> tuple[str, ...]:
    """Return why a recording does not cover what it had to: nothing may be certified by it."""
    unsent, targets = recording.unsent, recording.config.targets
    sent = sum(part.holds(outcome.due) for outcome in recording.outcomes for part in span.parts)
    due = sum(requests_due(target, part) for target in targets for part in span.parts)
    if gaps := time_gaps(span, recording.breaks, recording.last_seen, recording.in_flight):
        return gaps
    if not recording.ended:
        return (f"it was not stopped in order; what became of {recording.in_flight} requests is not known",)
    if unsent > UNSENT_SHARE * (len(recording.outcomes) + unsent):
        return (unsent_text(unsent),)
    if sent + unsent < (1 - UNSENT_SHARE) * due - len(targets) * len(span.parts):
        return (f"{sent} requests were sent, {due} were due",)
    return ()


def time_gaps(span: ProbeSpan, breaks: Iterable[Break], last_seen: float, in_flight: int) -> tuple[str, ...]:
    """Return when nothing was asked though it had to be."""
    lacking = [each for each in breaks if not span.may_lack(each.begin, each.end)]
    if lacking:
        return tuple(f"nothing was asked for {each.end - each.begin:.0f} s from {moment(each.begin)} on" for each in lacking)
    if last_seen < span.window.end:
        return (f"it ended {span.window.end - last_seen:.0f} s before the rollout, with {in_flight} requests on their way",)
    return ()


def longest_outage(outcomes: Collection[Outcome], window: Window, breaks: Sequence[Break]) -> Outage | None:
    """Return the longest outage; none lasts over a time in which nothing was asked."""
    begins, ends = [window.begin, *(each.end for each in breaks)], [*(each.begin for each in breaks), window.end]
    found = [measured_outage(outcomes, Window(begin, end)) for begin, end in zip(begins, ends, strict=True)]
    return max((each for each in found if each), key=lambda each: each.seconds, default=None)


def break_text(each: Break) -> str:
    """Say from when to when nothing was asked, and why that hinders nothing."""
    asked = f"it asked until {moment(each.begin)} and again from {moment(each.end)}"
    return f"{asked}: not for {each.end - each.begin:.0f} s in which nobody carried the rollout out ({each.in_flight} requests were on their way then)"


def moment(at: float) -> str:
    """Return a date and time."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def probe_notes(recording: Recording, span: ProbeSpan) -> tuple[str, ...]:
    """Return what else a reader of the counts must know."""
    few = 0 < recording.unsent <= UNSENT_SHARE * (len(recording.outcomes) + recording.unsent)
    later = "what was moved after it had ended, on the way back, was not probed"
    breaks = [break_text(each) for each in recording.breaks if span.may_lack(each.begin, each.end)]
    return (*([unsent_text(recording.unsent)] if few else []), *breaks, *([later] if span.was_moved_later else []))


def unsent_text(unsent: int) -> str:
    """Say what could not be sent."""
    return f"{unsent} requests could not be sent: this machine was out of files, ports or memory"


def requests_due(target: Target, window: Window) -> int:
    """Return how many requests of a target belong into a window."""
    return math.floor(window.seconds * target.rate)
