"""Ship and promote: a release enters the first environment and goes on as far as it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manor.errors import DifferencesFound, ManorError, UsageError
from manor.operations.planning import Result
from manor.rollout.receipt_text import verdict
from manor.state import releases
from manor.state.words import OperationState, Standing
from manor.workflows.context import Context
from manor.workflows.finding_receipts import receipt_of
from manor.workflows.gates import gate_problems
from manor.workflows.receipts import receipt_or_reason
from manor.workflows.rolling import (
    ORDER,
    Carrying,
    Onward,
    carry_out_rollout,
    is_done,
    load_release,
    prepare_rollout,
    read_onward,
    require_done,
    rollout_of,
)
from manor.workflows.up import prefixed

SHIP = "ship"


@dataclass(frozen=True)
class Delivered:
    """How a release came out in one environment."""

    environment: str
    release: str
    operation: str
    """Empty: it was there already."""
    lost: int = 0
    verdict: str = ""
    """The receipt's one sentence; one without a probe claims nothing about losses."""
    note: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """How each host came off."""


def path_from(context: Context, start: str, *, to: str = "") -> tuple[str, ...]:
    """Return the environments that a release passes from `start` on, in order; `to` is the last. Raises UsageError."""
    path = [start]
    while path[-1] != to:
        following = successors(context, path[-1])
        if len(following) > 1:
            raise UsageError(f"after {path[-1]} come {', '.join(following)}; say which with --to")
        if not following:
            break
        path.append(following[0])
    if to and to not in path:
        raise UsageError(f"{to} does not come after {start}")
    return tuple(path)


def successors(context: Context, environment: str) -> tuple[str, ...]:
    """Return the environments that come right after one."""
    return tuple(name for name, other in context.estate.environments.items() if other.after == environment)


def first_environment(context: Context, service: str) -> str:
    """Return the environment that a service's releases enter."""
    for name, environment in context.estate.environments.items():
        if environment.after is None and service in environment.services:
            return name
    raise UsageError(f"no first environment has the service {service!r}")


async def deliver(context: Context, service: str, artifact: str, carrying: Carrying, *, start: str = "", to: str = "", again: str = "") -> list[Delivered]:
    """Roll an artifact out from environment to environment until one may not be entered. Raises what the failing one raises."""
    path = path_from(context, start or first_environment(context, service), to=to)
    return await deliver_along(context, service, artifact, carrying, path, Onward(to, again))


async def deliver_along(
    context: Context, service: str, artifact: str, carrying: Carrying, path: Sequence[str], onward: Onward, *, is_begun: bool = False
) -> list[Delivered]:
    """Roll an artifact out along a path; `is_begun`: it was in the environment before the path's first."""
    delivered: list[Delivered] = []
    for number, name in enumerate(path, start=int(is_begun)):
        held_back = await may_not_enter(context, service, artifact, name, number)
        if held_back:
            delivered.append(Delivered(name, "", "", note=held_back))
            break
        delivered.append(await deliver_to(context, service, artifact, name, carrying, onward))
    return delivered


async def go_on(context: Context, result: Result, carrying: Carrying) -> list[Delivered]:
    """Go on with the delivery that a resumed operation is part of, into the environments after its own, as who began it would have."""
    operation = result.operation
    onward = read_onward(operation.arguments) if operation.verb == SHIP and operation.state is OperationState.DONE else None
    if onward is None or operation.environment == onward.to:
        return []
    release = await load_release(context, ORDER.validate_json(operation.arguments).release)
    path = path_from(context, operation.environment, to=onward.to)[1:]
    return await deliver_along(context, operation.service, release.artifact, carrying, path, onward, is_begun=True)


async def may_not_enter(context: Context, service: str, artifact: str, environment: str, number: int) -> str:
    """Return why a release does not go on into an environment by itself; empty: it does."""
    declared = context.environment(environment)
    if number and declared.promote == "by_hand":
        return f"waits for `manor promote {service} --to {environment}`"
    problems = await gate_problems(context, artifact, declared.gates)
    if problems and not number:
        raise DifferencesFound(f"{environment}: {'; '.join(problems)}")
    return "; ".join(problems)


async def deliver_to(
    context: Context, service: str, artifact: str, environment: str, carrying: Carrying, onward: Onward | None = None, *, again: str = "", verb: str = SHIP
) -> Delivered:
    """Roll an artifact out in one environment and write its receipt. Raises ApplyFailed when it was turned round, and its like."""
    rollout = await prepare_rollout(context, environment, service, artifact, again=onward.again if onward else again)
    release = rollout.order.release
    if is_done(rollout):
        return nothing_to_do(environment, release)
    return await finish(context, environment, await carry_out_rollout(rollout, heard_in(carrying, environment), verb, onward), release)


def nothing_to_do(environment: str, release: str) -> Delivered:
    """Return how a release came out that was there already."""
    return Delivered(environment, release, "", note="nothing to do; every instance serves it and it is certified")


async def finish(context: Context, environment: str, result: Result | None, release: str) -> Delivered:
    """Write the receipt of an ended rollout and return how it came out; None: somebody else had done it. Raises what its end means."""
    if result is None:
        return nothing_to_do(environment, release)
    receipt, why_not = await receipt_or_reason(context, result)
    require_done_beside(result, why_not)
    told = verdict(receipt_of(receipt)) if receipt else why_not
    return Delivered(environment, release, result.operation.id, receipt.lost if receipt else 0, told, hosts=result.hosts)


def require_done_beside(result: Result, why_not: str) -> None:
    """Raise what the operation's end means, and beside it why it has no receipt: the one never hides the other."""
    try:
        require_done(result)
    except ManorError as end:
        if not why_not:
            raise
        raise type(end)(f"{end}\n{why_not}") from end


def heard_in(carrying: Carrying, environment: str) -> Carrying:
    """Return the same with every host named with its environment."""
    return replace(carrying, tell=prefixed(carrying.tell, environment))


async def promote(context: Context, service: str, to: str, carrying: Carrying, *, release: str = "", again: str = "") -> Delivered:
    """Roll out in one environment what is certified in the one before it. Raises UsageError, DifferencesFound."""
    declared = context.environment(to)
    if declared.after is None:
        raise UsageError(f"nothing comes before {to}; use `manor ship`")
    chosen = await certified_before(context, service, declared.after, release)
    problems = await gate_problems(context, chosen.artifact, declared.gates)
    if problems:
        raise DifferencesFound(f"{to}: {'; '.join(problems)}")
    return await deliver_to(context, service, chosen.artifact, to, carrying, again=again, verb="promote")


async def certified_before(context: Context, service: str, environment: str, release: str) -> releases.Release:
    """Return the release that is certified in an environment: the named one, or the last. Raises UsageError."""
    if not release:
        found = await context.store.read(releases.last_certified, environment, service)
        if found is None:
            raise UsageError(f"nothing of {service} is certified in {environment} yet")
        return found
    chosen = await context.store.read(releases.get_release, release)
    standing = await context.store.read(releases.standing_of, environment, service, chosen.id)
    if standing is None or standing.standing is not Standing.CERTIFIED:
        raise UsageError(f"release {release} of {service} is not certified in {environment}, where it would have to be before")
    return chosen


async def rollback(context: Context, service: str, environment: str, carrying: Carrying, *, to: str = "") -> Delivered:
    """Return an environment to the last certified release; where that serves already, to the one certified before; or to a named one."""
    now = await context.store.read(releases.last_certified, environment, service)
    if to:
        target = await certified_before(context, service, environment, to)
    else:
        serving = await releases_serving(context, environment, service)
        found = await context.store.read(releases.last_certified, environment, service, but=now.id if now and serving == {now.id} else "")
        if found is None:
            raise UsageError(f"{environment} has no other certified release of {service} to return to")
        target = found
    rollout = await rollout_of(context, environment, service, await load_release(context, target.id), is_return=True)
    if is_done(rollout):
        return Delivered(environment, rollout.order.release, "", note="nothing to do; every instance serves it and it is certified")
    return await finish(context, environment, await carry_out_rollout(rollout, heard_in(carrying, environment), "rollback"), rollout.order.release)


async def releases_serving(context: Context, environment: str, service: str) -> set[str]:
    """Return the releases that active slots hold."""
    rows = await context.store.read(releases.slots, environment, service)
    active = {(row.instance, row.active) for row in await context.store.read(releases.deployments, environment, service)}
    return {row.release for row in rows if (row.instance, row.slot) in active}


def summary_lines(delivered: Iterable[Delivered]) -> list[str]:
    """Return a line an environment."""
    return [line_of(one) for one in delivered]


def line_of(one: Delivered) -> str:
    """Return one environment's line."""
    if not one.operation:
        return f"{one.environment:<10} {one.release:<14} {one.note}"
    return f"{one.environment:<10} {one.release:<14} {one.verdict} · `manor receipt {one.operation}`"
