"""Writes the receipt of an ended rollout: from the journal, the probe's recording and the first tier's access logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from manor.errors import ManorError
from manor.observe.edge import EdgeCounts, LogMark, observe_edge, restarts_within
from manor.observe.hosts import observe_programs
from manor.observe.window import Window
from manor.operations.planning import Result, standing
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.site import Site
from manor.rollout.composing import Witnessed, begun_steps, compose_receipt, window_of
from manor.rollout.receipt import EdgeColumn, Origin, Receipt, render_json
from manor.state import deliveries, leases, receipts, releases
from manor.state.clock import Clock
from manor.state.holder import Holder, this_process
from manor.state.operations import Operation
from manor.state.store import Connection
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber
from manor.workflows.rolling import ORDER, load_release, read_asked
from manor.workflows.snapshots import context_at

VERBS_WITH_RECEIPT = ("ship", "promote", "rollback", "restart")
LOG_FLUSH_SECONDS = 1.5
"""A tier writes its access log at least once a second."""


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


async def write_missing_receipts(context: Context, settled_seconds: float = 0.0) -> list[str]:
    """Write the receipts that ended rollouts lack because their executor died before it; return what was done, or why not, in words.

    Whoever carries a delivery out writes its receipts itself while it lives. What ended less than `settled_seconds` ago is left to whoever ended it, too.
    """
    said = []
    for operation in await context.store.read(missing_of_the_dead, this_process(), context.store.clock.now(), settled_seconds):
        _, why_not = await receipt_or_reason(context, await standing(context.store, operation.id))
        said.append(why_not or f"wrote the missing receipt of {operation.verb} {operation.lease}, operation {operation.id}")
    return said


def missing_of_the_dead(connection: Connection, me: Holder, now: float, settled_seconds: float) -> list[Operation]:
    """Return the ended operations without a receipt whose executor writes none any more, oldest first."""
    held = {lease.name for lease in leases.standing(connection) if leases.is_held(lease, me, now)}
    missing = [one for one in receipts.missing(connection, VERBS_WITH_RECEIPT) if deliveries.lease_name(one.delivery) not in held]
    return [one for one in missing if now - (one.ended_at or 0.0) >= settled_seconds]


async def make_receipt(context: Context, result: Result) -> Receipt:
    """Return the receipt of an ended rollout."""
    operation, store = result.operation, context.store
    order = ORDER.validate_json(operation.arguments)
    release = await load_release(context, (await store.read(releases.get_release, order.release)).id)
    artifact = await store.read(releases.get_artifact, release.artifact)
    origin = Origin(artifact.digest, artifact.commit, artifact.build_url)
    return compose_receipt(result, order, await witnessed(context, result, order.service), origin, read_asked(operation.arguments))


async def witnessed(context: Context, result: Result, service: str) -> Witnessed:
    """Return what probe and logs say of a rollout."""
    operation = result.operation
    window = window_of(operation, begun_steps(result.steps), context.store.clock.now())
    prober = LocalProber(context, operation.environment, service)
    site = context.site(operation.environment, service)
    edge, missing = await edge_column(site, prober.marks(operation.id), service, window)
    switching = next(tier.node for host in site.hosts.values() for tier in host.tiers if tier.node.is_switching)
    is_counted = site.wiring.traits[switching.product].switch.value == "counted"
    return Witnessed(await prober.column(operation.id, window.end), edge, missing, "counted" if is_counted else "timed", switching.product)


async def edge_column(site: Site, marks: dict[str, LogMark], service: str, window: Window) -> tuple[EdgeColumn | None, str]:
    """Return what the first tier's logs say on all its hosts, or why nothing can be said.

    Where the first tier's product can't log slot and cache, those two are counted from the next tier's logs.
    """
    chain = site.wiring.environment.traffic.chain
    try:
        found = await tier_counts(site, 0, marks, service, window)
        if len(chain) > 1 and not site.wiring.traits[chain[0].product].logs_slots:
            inner = await tier_counts(site, 1, marks, service, window)
            found = tuple(with_inner(outer, below) for outer, below in zip(found, inner, strict=True))
    except ManorError as error:
        return None, str(error)
    return EdgeColumn(*found), ""


def with_inner(outer: EdgeCounts, below: EdgeCounts) -> EdgeCounts:
    """Return the first tier's counts with what only the next tier can tell, and what that one lacks."""
    lacking = tuple(f"next tier: {each}" for each in below.incomplete)
    return replace(outer, cached=below.cached, reached_slot=below.reached_slot, incomplete=outer.incomplete + lacking)


async def tier_counts(site: Site, place: int, marks: dict[str, LogMark], service: str, window: Window) -> tuple[EdgeCounts, ...]:
    """Return the counts of a window, and of the one before, over all hosts of the tier at a place."""
    tiers = [(host, tier) for host in site.hosts.values() for tier in host.tiers if tier.node.place == place]
    found = [await counts_of(site, host, tier, marks.get(f"{host.name}/{tier.node.key}", LogMark()), service, window) for host, tier in tiers]
    return tuple(total(column) for column in zip(*found, strict=True))


async def counts_of(site: Site, host: DesiredHost, tier: DesiredTier, mark: LogMark, service: str, window: Window) -> tuple[EdgeCounts, ...]:
    """Return the counts of a window, and of the one before, of one tier on one host."""
    part = tier.proxy.part if tier.node.theirs is not None else None
    if tier.node.theirs is not None and not (part and part.logs_here and tier.node.has_files):
        raise ManorError(f"{host.name}: {tier.node.key} is a part of your own {tier.proxy.name}, which logs where you told it to")
    runner = site.runners[host.name]
    views = await observe_programs(question_of(host), runner) or ()
    names = {program.name for program in tier.programs}
    restarts = restarts_within(window, ((view.name, view.started_at) for view in views if view.name in names))
    log, parse, windows = tier.node.folders.access_log, tier.proxy.parse_access, (window, window.before())
    return await observe_edge(runner, log, mark, parse, service, windows, restarts, subject=tier.node.subject)


def total(counts: Iterable[EdgeCounts]) -> EdgeCounts:
    """Return the sum over hosts."""
    return reduce(EdgeCounts.plus, counts, EdgeCounts())
