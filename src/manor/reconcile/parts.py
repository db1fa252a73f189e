"""Tiers that are a part of a program that somebody else runs: looked at, judged, told to reload, taken out again (docs/ownership.md, beside yours).

Invariant: of theirs nothing is written, started or stopped; of ours one file lies in their folder, and it goes when their program works without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from manor.errors import CommandFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Completed, Effect, HostPath, MakeFolder, PutFile, Remove, Touch
from manor.integrations.proxies.parts import Found, Master, Part, argv_file, is_caught, name_file, parse_argv, parse_pid, signals_file, tell
from manor.observe.slots import held_out, read_slots, traffic_of
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.returns import returned_traffic
from manor.reconcile.site import POLL_SECONDS, READY_SECONDS, anyhow, with_parents
from manor.state import releases
from manor.state.clock import Clock
from manor.state.store import Store


def part_of(tier: DesiredTier) -> Part:
    """Return how a tier takes part in a program that somebody else runs."""
    if tier.proxy.part is None:
        raise ValueError(f"{tier.proxy.name} takes no part; the rules of the estate see to it")
    return tier.proxy.part


def place_of(path: HostPath | None) -> HostPath:
    """Return a place that the estate names."""
    if path is None:
        raise ValueError("the tier does not name a place that its `manage` needs; the rules of the estate see to it")
    return path


async def find_master(tier: DesiredTier, runner: Runner) -> Master:
    """Return their running master. Raises ManorError if none runs, the pid is another program's by now, or the reload's signal would end it."""
    theirs, part = tier.node.theirs, part_of(tier)
    path = place_of(theirs.pid if theirs else None)
    pid = parse_pid((await runner.read([path])).get(path), path)
    name, argv, signals = name_file(pid), argv_file(pid), signals_file(pid)
    facts = await runner.read([name, argv, signals])
    running = facts.get(name, b"").decode("utf-8", "replace").strip()
    if running != part.process:
        raise ManorError(f"{path} says {pid}, which is {running or 'no process'}, not {part.process}; Manor does not start this program: start it")
    if not is_caught(facts.get(signals, b""), part.signal):
        raise ManorError(f"{path} says {pid}, which SIG{part.signal} would end: it is no master; start {part.process} with one")
    return Master(pid, parse_argv(facts.get(argv, b"")))


async def look_beside(node: TierNode, runner: Runner, argv: tuple[str, ...] = ()) -> Found:
    """Return what is there of their files. Raises Refused if the places that the estate names are not there."""
    theirs = node.theirs
    main, into = place_of(theirs.main if theirs else None), place_of(theirs.into if theirs else None)
    there = await runner.digest([main, into])
    has_main, has_into = there.get(main, "folder") != "folder", there.get(into, "").startswith(("folder", "-> "))
    missing = [f"there is no {kind} {path}; name yours" for kind, path, is_there in (("file", main, has_main), ("folder", into, has_into)) if not is_there]
    if missing:
        raise Refused("; ".join(missing))
    text = (await runner.read([main])).get(main, b"")
    names = await runner.listings([main.parent, into])
    return Found(text, tuple(names[main.parent]), tuple(names[into]), argv)


async def judge_part(tier: DesiredTier, node: TierNode, runner: Runner, argv: tuple[str, ...] = (), *, with_ours: bool = True) -> tuple[str, ...]:
    """Return what is refused of their main file with ours in place, or without it; judged in the folder that `node` has its files in."""
    part, folder = part_of(tier), node.folders.etc
    try:
        found = await look_beside(node, runner, argv)
    except Refused as error:
        return (str(error),)
    obstacles = part.obstacles(node, found)
    if obstacles and with_ours:
        return obstacles
    rendered = {file.name: file for file in tier.proxy.render(node)}
    own = rendered.pop(part.own_file(node))
    judging = part.judge(node, found, folder, own.content if with_ours else None)
    lists = [PutFile(folder / file.name, file.content, file.mode) for file in rendered.values()]
    await runner.change([MakeFolder(folder), *with_parents([*lists, *judging.acts])])
    return tier.proxy.parse_check(await runner.run(anyhow(judging.command, folder)))


async def reload_part(tier: DesiredTier, runner: Runner) -> None:
    """Have their master take its files as they are now. Raises ManorError."""
    await runner.run(tell(tier.node, part_of(tier).signal, await find_master(tier, runner)))


async def reopen_part(tier: DesiredTier, runner: Runner) -> None:
    """Have their master open its logs anew. Raises ManorError."""
    await runner.run(tell(tier.node, part_of(tier).reopen, await find_master(tier, runner)))


async def pasted_problems(tier: DesiredTier, runner: Runner) -> tuple[str, ...]:
    """Return how what their program shows differs from what was to be pasted into it; that it does not answer is one."""
    part = part_of(tier)
    try:
        return part.differences(tier.node, await runner.carry_out(part.shown(tier.node)))
    except (Unreachable, CommandFailed) as error:
        return (str(error),)


async def part_problem(tier: DesiredTier, runner: Runner) -> str:
    """Return why their program does not work by our files, or by what was pasted, as declared; empty: it does."""
    if not tier.node.has_files:
        return "; ".join(await pasted_problems(tier, runner))
    try:
        await find_master(tier, runner)
    except ManorError as error:
        return str(error)
    answer = await answer_of(tier, runner)
    if answer is None:
        return "your program does not answer for Manor's file; `manor apply` has it take the file over"
    return tier.proxy.parse_loaded(tier.node, answer) or ""


@dataclass(frozen=True)
class Remembered:
    """What the store says of an environment's slots."""

    rows: tuple[releases.SlotRow, ...]
    deployments: tuple[releases.Deployment, ...]


async def remembered(store: Store, environment: str) -> Remembered:
    """Return what the store says of an environment's slots."""
    return Remembered(await read_slots(store, environment), tuple(await store.read(releases.deployments, environment)))


async def untold(host: DesiredHost, tier: DesiredTier, view: ServiceView, runner: Runner, known: Remembered) -> Mapping[str, tuple[TrafficState, TrafficState]]:
    """Return the servers that a balancer without a file of ours treats otherwise than is remembered: how, and how it should.

    What a person took out since it was told stays out. Before the first time, and after a `down`, what is out is so by Manor.
    """
    seen = tier.proxy.parse_switch(tier.node, view, await runner.carry_out(tier.proxy.observe_switch(tier.node, view)))
    wanted = {**traffic_of(view, known.rows), **await returned_traffic(runner, host.layout.guard(view.name), tier.proxy)}
    mark = host.layout.loaded(tier.node.key)
    held = held_out(view, known.rows, known.deployments, seen) if await runner.digest([mark]) else {}
    return {one.name: (one.traffic, wanted[one.name]) for one in seen if one.traffic is not wanted[one.name] and one.name not in held}


async def answer_of(tier: DesiredTier, runner: Runner) -> Completed | None:
    """Return what their program says of the files that it works by; None if nobody answers."""
    try:
        return await runner.carry_out(tier.proxy.loaded(tier.node))
    except (Unreachable, CommandFailed):
        return None


async def withdraw(tier: DesiredTier, runner: Runner, folder: HostPath, clock: Clock) -> str:
    """Take our file out of their program and have it go on without; return what was done.

    Raises Refused, with nothing changed, if their files don't hold without ours; NotRestored if their program goes on with it.
    """
    own = tier.own_path
    if not tier.node.has_files:
        return await take_out(tier, runner)
    is_there = own is not None and own in await runner.digest([own])
    if own is None or not (is_there or part_of(tier).is_loaded(tier.node, await answer_of(tier, runner))):
        return ""
    try:
        master = await find_master(tier, runner)
    except ManorError as error:
        await runner.change([Remove(own, touch_of(tier))])
        return f"{own} removed; {error}"
    await require_dispensable(tier, runner, folder)
    kept = (await runner.read([own])).get(own, b"")
    await runner.change([Remove(own, touch_of(tier))])
    await runner.run(tell(tier.node, part_of(tier).signal, master))
    if not await comes_true(clock, lambda answer: not part_of(tier).is_loaded(tier.node, answer), tier, runner):
        await runner.change([PutFile(own, kept, 0o640, touch_of(tier))] if is_there else [])
        raise NotRestored(
            f"{tier.node.key}: your program went on with {own} for {READY_SECONDS:g} s after it was told to reload; what was there is back, see its log"
        )
    return f"{own} removed; your program works without it"


async def require_dispensable(tier: DesiredTier, runner: Runner, folder: HostPath) -> None:
    """Raise Refused if our file is there and their files don't hold without it. Of a program that does not run nothing is asked."""
    own = tier.own_path
    if own is None or own not in await runner.digest([own]):
        return
    try:
        await find_master(tier, runner)
    except ManorError:
        return
    problems = await judge_without(tier, runner, folder)
    if problems:
        raise Refused(f"{tier.node.key}: without {own} your files are refused: {'; '.join(problems)}; take out what names Manor's sections, then again")


async def take_out(tier: DesiredTier, runner: Runner) -> str:
    """Have their program send nothing more to our servers; return what was done."""
    try:
        for view in tier.node.services:
            for act in tier.proxy.switch(tier.node, view, {server.name: TrafficState.MAINT for server in view.servers}):
                await runner.carry_out(act)
    except (Unreachable, CommandFailed) as error:
        return f"your program was not told: {error}"
    return "its servers are in maintenance; what you pasted is yours to take out"


async def judge_without(tier: DesiredTier, runner: Runner, folder: HostPath) -> tuple[str, ...]:
    """Return what is refused of their files when ours is gone."""
    try:
        return await judge_part(tier, tier.rebased(folder), runner, with_ours=False)
    finally:
        await runner.change([Remove(folder)])


async def comes_true(clock: Clock, holds: Callable[[Completed | None], bool], tier: DesiredTier, runner: Runner) -> bool:
    """Tell whether something holds of their program's answer before long."""
    limit = clock.now() + READY_SECONDS
    while clock.now() < limit:
        if holds(await answer_of(tier, runner)):
            return True
        await clock.sleep(POLL_SECONDS)
    return False


async def remember_beside(host: DesiredHost, runner: Runner) -> None:
    """Keep a list of our files in other people's folders, those of earlier estates too while they are there. It is written before they are."""
    there = await left_beside(host, runner)
    paths = sorted({*host.beside, *there})
    if paths or await runner.digest([host.layout.beside]):
        await runner.change([PutFile(host.layout.beside, "".join(f"{path}\n" for path in paths).encode())])


async def left_beside(host: DesiredHost, runner: Runner) -> list[HostPath]:
    """Return our files that lie in other people's folders and that the estate no longer declares."""
    text = (await runner.read([host.layout.beside])).get(host.layout.beside, b"").decode()
    known = [HostPath(line) for line in text.splitlines() if HostPath(line) not in host.beside]
    return sorted(await runner.digest(known))


def touch_of(tier: DesiredTier) -> Touch:
    """Return the touch of our file in their folder."""
    return Touch(tier.node.subject, Effect.INCLUDE)
