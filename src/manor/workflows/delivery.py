"""A release in one environment: whether it may enter, how it is rolled out there and returned, and how it came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from manor.errors import DifferencesFound, ManorError, UsageError
from manor.estate.layout import short
from manor.operations.planning import Result
from manor.rollout.receipt import Gate
from manor.rollout.receipt_text import verdict
from manor.state import releases
from manor.state.deliveries import Delivery
from manor.state.words import Standing
from manor.workflows.context import Context
from manor.workflows.finding_receipts import receipt_of
from manor.workflows.gates import judge_gates, problems_of
from manor.workflows.receipts import receipt_or_reason
from manor.workflows.rolling import (
    Carrying,
    carry_out_rollout,
    is_done,
    prepare_rollout,
    require_done,
)
from manor.workflows.up import prefixed


@dataclass(frozen=True)
class Delivered:
    """How a release came out in one environment."""

    environment: str
    release: str
    operation: str
    """Empty: it was there already."""
    lost: int = 0
    is_probed: bool | None = None
    """False: nothing was asked from outside, and `lost` says nothing; None: nothing was done, or there is no receipt."""
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


@dataclass(frozen=True)
class Entry:
    """Whether a release goes on into an environment by itself."""

    held_back: str = ""
    """Why it does not; empty: it does."""
    gates: tuple[Gate, ...] = ()
    """How the environment's gates stood."""


async def ask_entry(context: Context, delivery: Delivery, environment: str, *, is_foreseen: bool = False) -> Entry:
    """Return whether a release goes on into an environment by itself. Raises DifferencesFound if the first one's gates do not hold.

    `is_foreseen`: it is only foreseen that the environment before certifies it.
    """
    declared = context.environment(environment)
    is_first = environment == delivery.start
    if declared.promote == "by_hand" and not is_first:
        return Entry(f"waits for `manor promote {delivery.service} --to {environment}`")
    passed_by = "" if is_first or is_foreseen else await newer_before(context, delivery, environment)
    if passed_by:
        return Entry(passed_by)
    gates = await judge_gates(context, delivery.artifact, declared.gates)
    problems = problems_of(gates)
    if problems and is_first:
        raise DifferencesFound(f"{environment}: {'; '.join(problems)}")
    return Entry("; ".join(problems), gates)


async def newer_before(context: Context, delivery: Delivery, environment: str) -> str:
    """Return why a release goes no further where the environment before has certified another one since, or was rolled back; empty: it is still the last."""
    before = context.environment(environment).after or ""
    last = await context.store.read(releases.last_certified, before, delivery.service)
    if last is None:
        return f"goes no further: nothing is certified in {before} any more"
    if last.artifact == delivery.artifact:
        return ""
    on = f"`manor promote {delivery.service} --to {environment}` takes what is certified there"
    return f"goes no further: {short(last.id)} is what {before} has certified last by now; {on}"


async def deliver_to(context: Context, delivery: Delivery, environment: str, carrying: Carrying, gates: tuple[Gate, ...] = ()) -> Delivered:
    """Roll a delivery's artifact out in an environment whose gates it passed; write its receipt. Raises ApplyFailed when it was turned round, and its like."""
    rollout = replace(await prepare_rollout(context, environment, delivery.service, delivery.artifact, again=delivery.again), gates=gates)
    release = rollout.order.release
    if is_done(rollout):
        return nothing_to_do(environment, release)
    return await finish(context, environment, await carry_out_rollout(rollout, heard_in(carrying, environment), delivery.verb, delivery.id), release)


def nothing_to_do(environment: str, release: str) -> Delivered:
    """Return how a release came out that was there already."""
    return Delivered(environment, release, "", note="nothing to do; every instance serves it and it is certified")


async def finish(context: Context, environment: str, result: Result | None, release: str) -> Delivered:
    """Write the receipt of an ended rollout and return how it came out; None: somebody else had done it. Raises what its end means."""
    if result is None:
        return nothing_to_do(environment, release)
    _, why_not = await receipt_or_reason(context, result)
    require_done_beside(result, why_not)
    return await delivered_by(context, environment, result, release)


async def delivered_by(context: Context, environment: str, result: Result, release: str) -> Delivered:
    """Return how a release came to an environment by an operation that ended, with what its receipt says."""
    receipt, why_not = await receipt_or_reason(context, result)
    if receipt is None:
        return Delivered(environment, release, result.operation.id, verdict=why_not, hosts=result.hosts)
    read = receipt_of(receipt)
    return Delivered(environment, release, result.operation.id, receipt.lost, read.probe.has_evidence, verdict(read), hosts=result.hosts)


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


async def certified_before(context: Context, service: str, environment: str, release: str) -> releases.ReleaseRow:
    """Return the release that is certified in an environment: the named one, or the last. Raises UsageError."""
    if not release:
        found = await context.store.read(releases.last_certified, environment, service)
        if found is None:
            raise UsageError(f"nothing of {service} is certified in {environment} yet")
        return found
    known = await certified_ids(context, service, environment)
    chosen = [identifier for identifier in known if identifier.startswith(release)]
    if len(chosen) == 1:
        return await context.store.read(releases.get_release, chosen[0])
    there = f"there are, newest first: {', '.join(map(short, known))}" if known else f"nothing of {service} is"
    wrong = "means several releases" if chosen else "is no release"
    raise UsageError(f"{release!r} {wrong} of {service} that {'are' if chosen else 'is'} certified in {environment}; {there}")


async def certified_ids(context: Context, service: str, environment: str) -> tuple[str, ...]:
    """Return the releases of a service that are certified in an environment and were not marked otherwise since, newest first."""
    newest: dict[str, Standing] = {}
    for line in await context.store.read(releases.certifications, environment, service):
        newest.setdefault(line.release, line.standing)
    return tuple(identifier for identifier, standing in newest.items() if standing is Standing.CERTIFIED)


def summary_lines(delivered: Iterable[Delivered]) -> list[str]:
    """Return a line an environment; the last one names the environments before it where a release was certified without a probe."""
    rows = list(delivered)
    unproven = ", ".join(one.environment for one in rows[:-1] if one.is_probed is False)
    lines = [line_of(one) for one in rows]
    return [*lines[:-1], f"{lines[-1]} · {unproven}: certified WITHOUT A PROBE"] if unproven else lines


def line_of(one: Delivered) -> str:
    """Return one environment's line."""
    if not one.operation:
        return f"{one.environment:<10} {one.release:<14} {one.note}"
    return f"{one.environment:<10} {one.release:<14} {one.verdict} · `manor receipt {one.operation}`"
