"""Observe, plan and carry out: what `plan`, `apply` and `up` share."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from manor.errors import DifferencesFound, ManorError, UsageError
from manor.estate.layout import tier_program
from manor.execution.values import HostPath
from manor.integrations.proxies.base import Proxy
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import HostQuestion, ObservedHost, observe_host
from manor.observe.slots import read_slots
from manor.operations.chaos import Chaos, no_chaos
from manor.operations.engine import OnFailure, execute
from manor.operations.events import Listener, silent
from manor.operations.leasing import hold
from manor.operations.planning import Result, create, standing
from manor.operations.step import Planned as PlannedStep
from manor.operations.step import StepKinds
from manor.operations.stop import Stop
from manor.reconcile.apply import LiveTiers, apply_steps, confirming_steps, restarting_tiers
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.due import mark_of
from manor.reconcile.parts import Remembered, left_beside, remembered, untold
from manor.reconcile.plan import ABSENT, SUPERVISOR_MARK, Action, Observed, Plan, plan_environment
from manor.reconcile.site import Site
from manor.reconcile.steps import KINDS
from manor.state import journal, operations, releases
from manor.state.journal import StepRow
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.workflows.context import Context
from manor.workflows.risks import find_risks

APPLY_KINDS: StepKinds[Site] = StepKinds(KINDS)
SHOWN_DIGITS = 12
PLAN_HASH = re.compile(f"[0-9a-f]{{{SHOWN_DIGITS},64}}")


@dataclass(frozen=True)
class Planned:
    """A plan with the observation that it was made from."""

    plan: Plan
    site: Site
    observed: Observed


def question_of(host: DesiredHost) -> HostQuestion:
    """Return what to look at on a host."""
    paths = tuple(file.path for file in host.files)
    loaded = (host.layout.loaded(SUPERVISOR_MARK), *(host.layout.loaded(tier.node.key) for tier in host.tiers))
    due = (mark_of(host, tier) for tier in host.tiers)
    return HostQuestion(paths, host.folders, (*loaded, *due), host.supervised, host.supervisor if host.is_supervised else None)


async def observe_site(site: Site) -> Observed:
    """Look at every host of an environment, all at once; what differs is read after that."""
    rows = await read_slots(site.store, site.wiring.environment.name)
    slots = {f"{row.instance}/{row.slot}": f"{row.release} {row.traffic}" for row in rows}
    try:
        async with asyncio.TaskGroup() as group:
            looks = {name: group.create_task(observe_host(question_of(host), site.runners[name], name)) for name, host in sorted(site.hosts.items())}
            versions = group.create_task(tool_versions(site))
            told = group.create_task(untold_tiers(site))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    hosts = {name: look.result() for name, look in looks.items()}
    return Observed(hosts, await differing_texts(site, hosts), versions.result(), slots, told.result())


async def untold_tiers(site: Site) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return where balancers that keep no file of ours do otherwise than is remembered; what can't be asked is told by its check."""
    pasted = [(name, tier) for name, host in site.hosts.items() for tier in host.tiers if not tier.node.has_files]
    known = await remembered(site.store, site.wiring.environment.name)
    found = await asyncio.gather(*(told_otherwise(site, name, tier, known) for name, tier in pasted))
    return {(name, tier.node.key): told for (name, tier), told in zip(pasted, found, strict=True) if told}


async def told_otherwise(site: Site, host: str, tier: DesiredTier, known: Remembered) -> tuple[str, ...]:
    """Return which servers a balancer treats otherwise than is remembered, in words."""
    told = []
    try:
        for view in tier.node.services:
            found = await untold(site.hosts[host], tier, view, site.runners[host], known)
            told += [f"{view.name} {name} is {now}, not {wanted}" for name, (now, wanted) in found.items()]
    except ManorError:
        return ()
    return tuple(told)


async def differing_texts(site: Site, hosts: Mapping[str, ObservedHost]) -> dict[tuple[str, HostPath], bytes]:
    """Return the present content of files that differ, for the diff; secrets are not read."""
    differing = {name: differing_paths(site.hosts[name], found) for name, found in hosts.items()}
    asked = [name for name, paths in differing.items() if paths]
    texts = await asyncio.gather(*(site.runners[name].read(differing[name]) for name in asked))
    return {(name, path): content for name, found in zip(asked, texts, strict=True) for path, content in found.items()}


def differing_paths(host: DesiredHost, found: ObservedHost) -> list[HostPath]:
    """Return the files that are there and not as declared, but for secrets."""
    return [file.path for file in host.files if not file.is_secret and found.digests.get(file.path, ABSENT) not in {ABSENT, file.digest}]


async def tool_versions(site: Site) -> dict[str, str]:
    """Return the version of each product that the chain uses, as its own binary says; asked on one host each."""
    first: dict[str, tuple[str, Proxy]] = {}
    for host in site.hosts.values():
        for tier in host.tiers:
            first.setdefault(tier.proxy.name, (host.name, tier.proxy))
    answers = await asyncio.gather(*(site.runners[name].run(proxy.version()) for name, proxy in first.values()))
    return {proxy.name: proxy.parse_version(answer) for (_, proxy), answer in zip(first.values(), answers, strict=True)}


async def plan_site(context: Context, environment: str) -> Planned:
    """Return what differs between declaration and reality in an environment."""
    site = context.site(environment)
    observed = await observe_site(site)
    plan = plan_environment(environment, context.estate.digest, site.hosts.values(), observed)
    return Planned(plan if plan.is_empty else replace(plan, risks=await find_risks(context, environment)), site, observed)


async def apply_plan(
    context: Context,
    planned: Planned,
    tell: Listener = silent,
    stop: Stop | None = None,
    *,
    actor: str,
    expected: str = "",
    wait_seconds: float = 0.0,
    allow_destroy: bool = False,
    chaos: Chaos = no_chaos,
    only: frozenset[str] = frozenset(),
) -> Result | None:
    """Carry a plan out as an operation, on all its hosts or on some; None if there is nothing to do.

    Raises DifferencesFound if `expected` (a plan's hash) is not what would be done now, UsageError for destruction that was not allowed,
    ApplyFailed, NotRestored, Refused, Busy.
    """
    require_plan_hash(expected)
    plan = planned.plan
    done = await context.store.read(operations.carried_out, plan.environment, expected) if expected else None
    if done is not None:
        return await standing(context.store, done.id)
    require_expected(plan, expected)
    plan = on_hosts(plan, only)
    if plan.is_empty:
        return None
    require_allowed(plan, context.estate.removed, allow_destroy=allow_destroy)
    await require_drained(context, plan.environment)
    await require_withdrawn(planned.site)
    arguments = json.dumps({"environment": plan.environment, **({"only": sorted(only)} if only else {})})
    whole = "" if only else plan.hash  # what is carried out in part is not that plan
    new = NewOperation("apply", plan.environment, actor=actor, estate_digest=plan.estate_digest, plan_hash=whole, arguments=arguments)
    async with hold(context.store, plan.environment, wait_seconds=wait_seconds) as lease:
        await context.store.read(operations.require_none_unfinished, plan.environment)
        await require_unmoved(context, plan)
        operation: Operation = await create(context.store, new, steps_of(replace(planned, plan=plan)), APPLY_KINDS, lease)
        confirming = confirming_changes(context.store)
        return await execute(context.store, operation.id, planned.site, APPLY_KINDS, lease, on_failure=confirming, tell=tell, stop=stop, chaos=chaos)


def steps_of(planned: Planned) -> list[PlannedStep[Site]]:
    """Return the steps that carry a plan out."""
    hosts = planned.site.hosts
    return apply_steps(planned.plan, hosts, LiveTiers(running_tiers(planned), restarting_tiers(hosts.values(), planned.observed)))


def require_expected(plan: Plan, expected: str) -> None:
    """Raise DifferencesFound if a plan's hash was named and is not what would be done now."""
    if expected and not plan.hash.startswith(expected):
        raise DifferencesFound(
            f"the plan {expected[:12]} is not what would be done now ({plan.hash[:12]}); estate or hosts have changed since: `manor plan -e {plan.environment}`"
        )


def on_hosts(plan: Plan, only: frozenset[str]) -> Plan:
    """Return the part of a plan that concerns some hosts; all of it if none is named."""
    return replace(plan, changes=tuple(change for change in plan.changes if change.host in only)) if only else plan


def require_plan_hash(expected: str) -> None:
    """Raise UsageError for what is no plan's hash, nor enough of one to mean a single plan."""
    if expected and not PLAN_HASH.fullmatch(expected):
        raise UsageError(f"--plan {expected}: not a plan's hash; give at least its first {SHOWN_DIGITS} digits, as `manor plan` shows them")


async def require_unmoved(context: Context, plan: Plan) -> None:
    """Look once more, now that nobody else may change anything. Raises DifferencesFound if the plan is not what would be done now."""
    now = (await plan_site(context, plan.environment)).plan
    if now.hash != plan.hash:
        raise DifferencesFound(
            f"{plan.environment} has changed since it was looked at ({plan.hash[:12]}, now {now.hash[:12]}): `manor plan {plan.environment}`"
        )


def confirming_changes(store: Store) -> OnFailure[Site]:
    """Return what makes sure, after a failure, that every tier whose change was begun works."""

    async def plan(operation: Operation, _failed: Sequence[StepRow], _site: Site) -> Sequence[PlannedStep[Site]]:
        rows = await store.read(journal.steps, operation.id, 0)
        return confirming_steps([APPLY_KINDS.decode(row) for row in rows if row.intent_at is not None])

    return plan


def require_allowed(plan: Plan, removed: Iterable[str], *, allow_destroy: bool) -> None:
    """Raise UsageError naming what would be destroyed, unless that is declared under `removed` and allowed."""
    ended = [change for change in plan.changes if change.is_destructive]
    slots = {change.what.rsplit("-", 1)[0] for change in ended if change.action is Action.STOP and not change.what.startswith(tier_program(""))}
    undeclared = sorted(slots - set(removed))
    if undeclared:
        raise UsageError(f"{', '.join(undeclared)} would vanish from {plan.environment}; say since when: `removed: {{{undeclared[0]}: <date>}}` in the estate")
    if ended and not allow_destroy:
        listed = "; ".join(f"{change.host}: {change.action} {change.what}" for change in ended)
        raise UsageError(f"the plan removes: {listed}. If that is meant, add --allow-destroy")


async def require_drained(context: Context, environment: str) -> None:
    """Raise UsageError if a service that is no longer declared still has instances: an apply would end them under their requests."""
    declared = context.environment(environment).services
    left = sorted({row.service for row in await context.store.read(releases.deployments, environment)} - set(declared))
    if left:
        commands = "; ".join(f"`manor service remove {name} -e {environment}`" for name in left)
        raise UsageError(f"{', '.join(left)}: no longer declared in {environment} and still there; drain it first: {commands}")


async def require_withdrawn(site: Site) -> None:
    """Raise UsageError if a file of ours lies in somebody else's program that the estate no longer names: nobody would ever take it out."""
    for name, host in site.hosts.items():
        left = await left_beside(host, site.runners[name])
        if left:
            named = ", ".join(map(str, left))
            raise UsageError(f"{name}: {named} is still in your program, and the estate no longer says so; remove it, reload your program, then again")


def running_tiers(planned: Planned) -> frozenset[tuple[str, str]]:
    """Return the (host, key) of tiers whose programs all run."""
    running = {name: {view.name for view in found.programs or () if view.status is ProgramStatus.RUNNING} for name, found in planned.observed.hosts.items()}
    return frozenset(
        (host.name, tier.node.key)
        for host in planned.site.hosts.values()
        for tier in host.tiers
        if all(program.name in running[host.name] for program in tier.programs)
    )
