"""The receipt as text for people: one screen, each witness for itself.

Invariant: pure; a receipt of strategy `interrupt` states the measured outage and never the word zero.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from manor.observe.edge import EdgeCounts
from manor.observe.probe.model import Loss, LossKind
from manor.observe.probe.summary import Latency
from manor.rollout.moving import EXTENSIONS
from manor.rollout.receipt import Drain, DrainPolicy, EdgeColumn, ProbeColumn, Receipt

KINDS = {
    LossKind.REFUSED: "refused",
    LossKind.TLS: "TLS failed",
    LossKind.RESET: "reset",
    LossKind.TRUNCATED: "truncated",
    LossKind.TIMED_OUT: "timed out",
    LossKind.BAD_STATUS: "unexpected status",
}
LISTED_LOSSES = 50
POLICIES: Mapping[DrainPolicy, str] = {
    "extend": f"what is not finished in time is waited for, {EXTENSIONS} times as long at most, and then cut",
    "cut": "what is not finished in time is cut",
    "abort": "what is not finished in time is not cut, and turns the rollout round",
}
ONLY_THE_PROBE = (
    "Never added up: one request may be in all three. Only the probe sees connections that were refused, reset or timed out",
    "before the first tier had read a request: they leave no line in any log.",
)


def render_text(receipt: Receipt, listed_losses: int | None = LISTED_LOSSES) -> str:
    """Return the receipt as text, ending with a line end; with so many of the losses, None: all."""
    sections = (
        head(receipt),
        unproven_lines(receipt),
        probe_lines(receipt),
        edge_lines(receipt.edge, receipt.edge_missing),
        ONLY_THE_PROBE,
        section("INCOMPLETE: counts may be too small", receipt.incomplete),
        loss_lines(receipt.probe.losses, listed_losses),
        timeline_lines(receipt),
        drain_lines(receipt),
        section("HOSTS", rows((each.host, each.outcome, each.why) for each in receipt.hosts)),
        section("GATES", rows((gate.name, gate.verdict, gate.numbers) for gate in receipt.gates)),
        section("APPROVED BY", receipt.approvers),
        section("OVERRIDES", (f"{each.by}: {each.what}: {each.why}" for each in receipt.overrides)),
        section("TIMINGS IN FORCE", timing_rows(receipt)),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def section(title: str, lines: Iterable[str]) -> list[str]:
    """Return a title and its indented lines; nothing without lines."""
    inner = [f"  {line}" for line in lines]
    return [title, *inner] if inner else []


def rows(cells: Iterable[Sequence[str]]) -> list[str]:
    """Return aligned rows; all columns but the last are padded."""
    table = [list(row) for row in cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))] if table else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def head(receipt: Receipt) -> list[str]:
    """Return what was done, when, and how it ended."""
    before = receipt.previous or "nothing"
    origin = receipt.origin
    known = [origin.artifact, f"commit {origin.commit}" if origin.commit else "", origin.build_url] if origin else []
    return [
        f"{receipt.service} in {receipt.environment}: {before} → {receipt.release}, {verdict(receipt)}",
        f"{receipt.strategy} · {day(receipt.window.begin)} {clock(receipt.window.begin)} to {clock(receipt.window.end)} UTC "
        f"({receipt.window.seconds:.1f} s) · operation {receipt.operation}",
        *([" · ".join(filter(None, known))] if known else []),
        *([f"marked as failed here; to ship it again takes --again and a reason: {receipt.burned}"] if receipt.burned else []),
        *([f"not marked as failed: {receipt.spared}"] if receipt.spared else []),
    ]


def unproven_lines(receipt: Receipt) -> list[str]:
    """Say in its own section, right at the top, that a release was certified by its own health alone."""
    if not receipt.is_unproven:
        return []
    reasons = receipt.probe.incomplete or ("the probe had no time to ask: it runs during the bake of a first release, which was too short",)
    return section("CERTIFIED WITHOUT A PROBE: nothing was asked from outside, so nothing shows whether requests were lost", reasons)


def verdict(receipt: Receipt) -> str:
    """Return the end state and the one number that people look for."""
    probe = receipt.probe
    if not probe.has_evidence:
        how = " WITHOUT A PROBE" if receipt.is_unproven else ", not probed"
        return f"{receipt.state}{how}: nothing shows whether requests were lost"
    unsure = "" if not probe.incomplete else " (incomplete)" if probe.is_whole else " (incomplete: not measured to its end)"
    if receipt.strategy == "interrupt":
        return f"{receipt.state}, {outage_text(receipt)}{unsure}"
    return f"{receipt.state}, {probe.all_losses}{unsure}{budget_text(receipt)}"


def budget_text(receipt: Receipt) -> str:
    """Say that more was lost than allowed, and where that is not held against the release."""
    word = receipt.losses.verdict(receipt.loss_budget)
    if word == "pass":
        return ""
    return f", more than the {receipt.loss_budget} allowed{'' if word == 'fail' else f'; {word}: {receipt.losses.why}'}"


def outage_text(receipt: Receipt) -> str:
    """Return the measured outage of an interruption."""
    outage = receipt.probe.outage
    resolution = f"the probe asks every {1000 / receipt.probe.rate:.0f} ms"
    if outage is None:
        return f"no outage was long enough to be measured ({resolution})"
    allowed = "" if receipt.longest_outage is None else f", {receipt.longest_outage:g} s allowed"
    return f"out of service for {outage.seconds:.2f} s from {clock(outage.begin)}{allowed} ({resolution})"


def probe_lines(receipt: Receipt) -> list[str]:
    """Return the first column."""
    probe = receipt.probe
    asked = ", ".join(probe.requests)
    how = f", past the cache: {asked}; {probe.rate:g} a second however slow the answers, never repeated" if asked else ""
    title = f"PROBE    from outside{how}"
    if not probe.has_evidence:
        return [title, "  nothing was sent: the probe shows nothing"]
    return [title, *(f"  {line}" for line in (counts_text(receipt), bound_text(receipt), *latency_text(probe)) if line)]


def counts_text(receipt: Receipt) -> str:
    """Return what was sent and lost, by kind."""
    probe = receipt.probe
    by_kind = Counter(loss.kind for loss in probe.losses)
    parts = ", ".join(f"{KINDS[kind]} {count:,}" for kind, count in sorted(by_kind.items()))
    lost = "none" if receipt.strategy == "interrupt" and not probe.lost else f"{probe.lost:,}"
    return f"sent {probe.sent:,} ({probe.new_connections:,} on connections of their own), lost {lost}{f' ({parts})' if parts else ''}"


def bound_text(receipt: Receipt) -> str:
    """Return what none lost of so many means; nothing where losses come in one stretch and no share describes them."""
    bound = receipt.probe.bound
    if bound is None or receipt.strategy == "interrupt":
        return ""
    return f"with 95 % confidence at most {100 * bound:.2g} % of such requests were lost (3/n)"


def latency_text(probe: ProbeColumn) -> list[str]:
    """Return latency, what the rollout added to it, and how exact the probe was."""
    lines = [f"latency from the due time: {quantiles(probe.latency)}"] if probe.latency else []
    late = probe.lateness_p99
    return [*lines, *added_text(probe), *([f"the probe itself sent 99 % of them within {milliseconds(late)} of their time"] if late is not None else [])]


def added_text(probe: ProbeColumn) -> list[str]:
    """Return what was added to the latency once something was touched, or why that can't be said."""
    if probe.baseline is None:
        return []
    before = f"the {probe.baseline.seconds:.1f} s before anything was touched"
    if probe.added is None:
        return [f"added latency: not known, {probe.compared_with} requests were answered in {before}"]
    return [f"against {before} (n = {probe.compared_with:,}): {quantiles(probe.added, sign='+')}"]


def quantiles(latency: Latency, sign: str = "") -> str:
    """Return the quantiles in milliseconds."""
    named = (("p50", latency.p50), ("p95", latency.p95), ("p99", latency.p99), ("longest", latency.longest))
    return ", ".join(f"{name} {milliseconds(value, sign)}" for name, value in named)


def milliseconds(seconds: float, sign: str = "") -> str:
    """Return a time, with its sign if asked for."""
    return f"{1000 * seconds:{sign}.1f} ms"


def edge_lines(edge: EdgeColumn | None, missing: str) -> list[str]:
    """Return the second and third column beside the window before."""
    if edge is None:
        return [f"EDGE     not read: {missing}"]
    table = [("", "this window", "same before"), *(counted_row(name, edge, field) for name, field in EDGE_ROWS)]
    service = counted_row("5xx with an upstream status", edge, "errors_with_upstream")
    lines = aligned([*table, service])
    return ["EDGE     access log of the first tier, the probe's requests among them", *lines[:-1], "SERVICE  its own answers in the same log", lines[-1]]


EDGE_ROWS = (
    ("requests", "total"),
    ("from the cache", "cached"),
    ("reached a slot", "reached_slot"),
    ("5xx without an upstream status", "errors_without_upstream"),
    ("ended by us", "ended_by_us"),
    ("ended by the client", "ended_by_client"),
)


def counted_row(name: str, edge: EdgeColumn, attribute: str) -> tuple[str, str, str]:
    """Return a row of numbers, marked where they may be too small."""
    return name, number(edge.window, attribute), number(edge.before, attribute)


def number(counts: EdgeCounts, attribute: str) -> str:
    """Return a count, `≥` before one that may be too small."""
    return f"{'≥ ' if counts.incomplete else ''}{getattr(counts, attribute):,}"


def aligned(table: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return rows with numbers at the right."""
    return [f"  {name:<32}{now:>14}{before:>14}" for name, now, before in table]


def loss_lines(losses: Sequence[Loss], most: int | None = LISTED_LOSSES) -> list[str]:
    """Return the first losses, None: every one; the JSON form has all."""
    listed = rows(
        (clock(loss.due), loss.target, f"{loss.lane} connection", KINDS[loss.kind], str(loss.status or ""), f"after {loss.seconds:.3f} s")
        for loss in losses[:most]
    )
    rest = len(losses) - len(listed)
    return section("LOST", [*listed, *([f"and {rest:,} more: --all-losses lists them, --json has them too"] if rest else [])])


def timeline_lines(receipt: Receipt) -> list[str]:
    """Return what happened, in order, with its batch."""
    moments = sorted(receipt.timeline, key=lambda moment: moment.at)
    cells = ((f"{moment.at - receipt.window.begin:+.1f} s", f"batch {moment.batch}" if moment.batch else "", moment.host, moment.text) for moment in moments)
    return section("TIMELINE", rows(cells))


def drain_lines(receipt: Receipt) -> list[str]:
    """Return how each slot was emptied, and how far that is known."""
    if not receipt.drains:
        return []
    counted = f"{receipt.switch_product} counts what is in flight: a drain ended when that was none on every balancer"
    timed = f"{receipt.switch_product} does not count what is in flight: each drain lasted its whole time, and nothing shows that it was enough"
    return [*section("DRAINS", rows((drain.slot, drain_text(drain)) for drain in receipt.drains)), f"  {counted if receipt.switch == 'counted' else timed}"]


def drain_text(drain: Drain) -> str:
    """Return how one slot was emptied, and whether a guard watched over it."""
    told = emptied_text(drain)
    told += f"; WebSockets left to its program, which closes them when it ends: {drain.websockets}" if drain.websockets else ""
    return f"{told}; {drain.unguarded}" if drain.unguarded else told


def emptied_text(drain: Drain) -> str:
    """Return how one slot was emptied."""
    if drain.was_cut:
        return f"CUT after {drain.seconds:.1f} s: {'an unknown number of' if drain.left is None else drain.left} requests did not finish"
    if drain.in_flight is None:
        return f"waited {drain.seconds:.1f} s"
    return f"{drain.in_flight} requests in flight → 0 in {drain.seconds:.1f} s"


def timing_rows(receipt: Receipt) -> list[str]:
    """Return the waiting times, and what was to become of work that outlasts its own."""
    policy = [("drain_policy", f"{receipt.drain_policy}: {POLICIES[receipt.drain_policy]}")] if receipt.drain_policy else []
    return rows([*((each.name, f"{each.seconds:g} s") for each in receipt.timings), *policy])


def day(moment: float) -> str:
    """Return a date."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")


def clock(moment: float) -> str:
    """Return a time of day with milliseconds."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%H:%M:%S.%f")[:-3]
