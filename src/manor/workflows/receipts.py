"""Writes the receipt of an ended rollout: from the journal, the probe's recording and the first tier's access logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from manor.errors import ManorError
from manor.observe.edge import EdgeCounts, LogMark, observe_edge, restarts_within
from manor.observe.hosts import observe_programs
from manor.observe.window import Window
from manor.operations.planning import Result, standing
from manor.operations.step import decode_evidence
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.site import Site
from manor.rollout.moving import AdmitSlot, Drained, DrainSlot
from manor.rollout.plan import RolloutOrder
from manor.rollout.receipt import Drain, EdgeColumn, Gate, HostEnd, Moment, Origin, Override, ProbeColumn, Receipt, Timing, probe_column, render_json
from manor.state import receipts, releases
from manor.state.clock import Clock
from manor.state.journal import StepRow
from manor.state.operations import Operation
from manor.state.words import OperationState, Outcome
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber
from manor.workflows.rolling import ORDER, load_release, read_again
from manor.workflows.snapshots import context_at

ENDS = {
    OperationState.DONE: "certified",
    OperationState.REVERTED: "rolled_back",
    OperationState.FAILED: "not restored",
    OperationState.ABANDONED: "abandoned",
}
BAD = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})
VERBS_WITH_RECEIPT = ("ship", "promote", "rollback", "restart")
LOG_FLUSH_SECONDS = 1.5
"""A tier writes its access log at least once a second."""
NOT_ASKED = ProbeColumn((), 0.0, 0, 0, 0, incomplete=("not asked: the probe never began, or there is no route or no path to ask for",))
TOO_SHORT = ProbeColumn((), 0.0, 0, 0, 0, incomplete=("it was ended before its first request was due; a first release is probed during its bake time only",))


async def write_receipt(context: Context, result: Result) -> receipts.ReceiptRow:
    """Write the receipt of an ended rollout, or return the one that is there. A probe that still runs is ended first.

    It is written against the estate that the rollout was carried out under, not the present one.
    """
    operation = result.operation
    there = await context.store.read(receipts.find, operation.id)
    if there is not None:
        return there
    order = ORDER.validate_json(operation.arguments)
    await LocalProber(context, operation.environment, order.service).end(operation.id)
    then = context_at(context, operation.estate_digest) if operation.estate_digest else context
    await wait_for_logs(context.store.clock, operation.ended_at)
    receipt = await make_receipt(then, result)
    row = receipts.ReceiptRow(
        operation.id, operation.environment, order.service, order.release, receipt.probe.lost, render_json(receipt), context.store.clock.now()
    )
    return await context.store.write(receipts.keep_first, row)


async def wait_for_logs(clock: Clock, ended_at: float | None) -> None:
    """Wait until the tiers have written what they served until then."""
    left = LOG_FLUSH_SECONDS - (clock.now() - ended_at) if ended_at is not None else LOG_FLUSH_SECONDS
    if left > 0:
        await clock.sleep(min(left, LOG_FLUSH_SECONDS))


async def receipt_or_reason(context: Context, result: Result) -> tuple[receipts.ReceiptRow | None, str]:
    """Write the receipt of a rollout that has ended; return it, or in words why there is none. How the rollout ended is told either way."""
    if not result.operation.state.is_final:
        return None, ""
    try:
        return await write_receipt(context, result), ""
    except (ManorError, OSError, ValueError) as error:
        return None, f"the receipt of operation {result.operation.id} could not be written: {error}; `manor receipt` tries again"


async def write_missing_receipts(context: Context) -> list[str]:
    """Write the receipts that ended rollouts lack because their executor died before it; return what was done, or why not, in words."""
    said = []
    for operation in await context.store.read(receipts.missing, VERBS_WITH_RECEIPT):
        _, why_not = await receipt_or_reason(context, await standing(context.store, operation.id))
        said.append(why_not or f"wrote the missing receipt of {operation.verb} {operation.lease}, operation {operation.id}")
    return said


async def make_receipt(context: Context, result: Result) -> Receipt:
    """Return the receipt of an ended rollout."""
    operation = result.operation
    order = ORDER.validate_json(operation.arguments)
    begun = [row for row in result.steps if row.intent_at is not None]
    window = (
        Window(begun[0].intent_at or operation.created_at, (operation.ended_at or context.store.clock.now()) + 1e-3)
        if begun
        else Window(operation.created_at, operation.created_at)
    )
    prober = LocalProber(context, operation.environment, order.service)
    site = context.site(operation.environment, order.service)
    edge, missing = await edge_column(site, prober.marks(operation.id), order.service, window)
    release = await load_release(context, (await context.store.read(releases.get_release, order.release)).id)
    artifact = await context.store.read(releases.get_artifact, release.artifact)
    switching = next(tier.node for host in site.hosts.values() for tier in host.tiers if tier.node.is_switching)
    return Receipt(
        operation=operation.id,
        service=order.service,
        environment=operation.environment,
        release=order.release,
        previous=next((now.release for now in order.instances if now.release), ""),
        strategy=order.rules.strategy,
        state=ENDS[operation.state],
        switch="counted" if site.wiring.traits[switching.product].switch.value == "counted" else "timed",
        switch_product=switching.product,
        window=window,
        probe=probe_part(prober, operation.id),
        edge=edge,
        edge_missing=missing,
        loss_budget=order.loss_budget,
        longest_outage=order.rules.longest_outage,
        origin=Origin(artifact.digest, artifact.commit, artifact.build_url),
        timeline=timeline(begun),
        drains=drains(begun),
        gates=gates(begun),
        overrides=overrides(operation),
        timings=timings(order),
        hosts=host_ends(result),
    )


def probe_part(prober: LocalProber, operation: str) -> ProbeColumn:
    """Return the probe's column; one that says why there is nothing where nothing was asked."""
    if not (prober.folder(operation) / "config.json").exists():
        return NOT_ASKED
    if not (prober.folder(operation) / "results.jsonl").exists():
        return TOO_SHORT
    recording = prober.recording(operation)
    moments = [outcome.due for outcome in recording.outcomes]
    return probe_column(recording, Window(min(moments), max(moments) + 1e-6)) if moments else TOO_SHORT


async def edge_column(site: Site, marks: dict[str, LogMark], service: str, window: Window) -> tuple[EdgeColumn | None, str]:
    """Return what the first tier's logs say on all its hosts, or why nothing can be said.

    Where the first tier's product can't log slot and cache, those two are counted from the next tier's logs.
    """
    chain = site.wiring.environment.traffic.chain
    try:
        found = await tier_counts(site, 0, marks, service, window)
        if len(chain) > 1 and not site.wiring.traits[chain[0].product].logs_slots:
            inner = await tier_counts(site, 1, marks, service, window)
            found = tuple(replace(outer, cached=below.cached, reached_slot=below.reached_slot) for outer, below in zip(found, inner, strict=True))
    except ManorError as error:
        return None, str(error)
    return EdgeColumn(*found), ""


async def tier_counts(site: Site, place: int, marks: dict[str, LogMark], service: str, window: Window) -> tuple[EdgeCounts, ...]:
    """Return the counts of a window, and of the one before, over all hosts of the tier at a place."""
    tiers = [(host, tier) for host in site.hosts.values() for tier in host.tiers if tier.node.place == place]
    found = [await counts_of(site, host, tier, marks.get(f"{host.name}/{tier.node.key}", LogMark()), service, window) for host, tier in tiers]
    return tuple(total(column) for column in zip(*found, strict=True))


async def counts_of(site: Site, host: DesiredHost, tier: DesiredTier, mark: LogMark, service: str, window: Window) -> tuple[EdgeCounts, ...]:
    """Return the counts of a window, and of the one before, of one tier on one host."""
    runner = site.runners[host.name]
    views = await observe_programs(question_of(host), runner) or ()
    names = {program.name for program in tier.proxy.programs(tier.node)}
    restarts = restarts_within(window, ((view.name, view.started_at) for view in views if view.name in names))
    log, parse, windows = tier.node.folders.access_log, tier.proxy.parse_access, (window, window.before())
    return await observe_edge(runner, log, mark, parse, service, windows, restarts, subject=tier.node.subject)


def total(counts: Iterable[EdgeCounts]) -> EdgeCounts:
    """Return the sum over hosts."""
    return reduce(EdgeCounts.plus, counts, EdgeCounts())


def timeline(begun: Sequence[StepRow]) -> tuple[Moment, ...]:
    """Return what was done when, step by step; a batch begins with each admission wave."""
    batches = {stage: number for number, stage in enumerate(sorted({row.stage for row in begun if row.kind == AdmitSlot.kind and row.plan == 0}), 1)}
    return tuple(moment_of(row, batches) for row in sorted(begun, key=lambda row: (row.done_at or 0.0, row.seq)))


def moment_of(row: StepRow, batches: dict[int, int]) -> Moment:
    """Return one line of the timeline."""
    word = "" if row.outcome is Outcome.OK else f" · {row.outcome}"
    back = "on the way back: " if row.plan else ""
    return Moment(row.done_at or row.intent_at or 0.0, row.host, f"{back}{row.kind} {row.text}{word}", batch_of(row, batches))


def batch_of(row: StepRow, batches: dict[int, int]) -> int | None:
    """Return the batch that a step belongs to: those of an instance lie around its admission."""
    if row.plan or not row.host:
        return None
    later = [number for stage, number in batches.items() if stage >= row.stage - 2]
    return min(later) if later else None


def drains(begun: Sequence[StepRow]) -> tuple[Drain, ...]:
    """Return how each slot was emptied."""
    found = []
    for row in begun:
        if row.kind == DrainSlot.kind and row.outcome is Outcome.OK and row.evidence:
            drained = decode_evidence(row, Drained)
            slot = f"{row.host} {row.text.split(' ')[0]}"
            found.append(Drain(slot, drained.seconds, drained.in_flight_at_start, drained.left, drained.was_cut, drained.unguarded))
    return tuple(found)


def overrides(operation: Operation) -> tuple[Override, ...]:
    """Return the rules that a person set aside for the rollout."""
    why = read_again(operation.arguments)
    return (Override(operation.actor, "a release that had failed here before, once more", why),) if why else ()


def host_ends(result: Result) -> tuple[HostEnd, ...]:
    """Return how each host came off, with the reason of its last step that failed."""
    why = {step.host: step.evidence for step in result.failed}
    return tuple(HostEnd(host, outcome.value, why.get(host, "") if outcome in BAD else "") for host, outcome in result.hosts.items())


def gates(begun: Sequence[StepRow]) -> tuple[Gate, ...]:
    """Return the conditions that were judged within the rollout."""
    return tuple(Gate(row.kind, "pass" if row.outcome is Outcome.OK else "fail", row.evidence) for row in begun if row.kind in {"preflight", "bake"})


def timings(order: RolloutOrder) -> tuple[Timing, ...]:
    """Return the waiting times that were in force."""
    rules = order.rules
    return (
        Timing("min_healthy_time", order.min_healthy_seconds),
        Timing("bake", order.bake_seconds),
        Timing("drain_timeout", order.drain_seconds),
        Timing("settle", rules.settle),
    )
