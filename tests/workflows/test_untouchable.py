"""Every kind of step that any operation has stops before what is untouchable, with the rule's name and nothing done (docs/ownership.md).

The kinds are found in the package, so that a new one fails here until it has its case.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import pkgutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import manor
from manor.errors import FencedOff, NotOurs
from manor.execution.guard import Untouchable, is_inside, touched_paths
from manor.execution.values import Completed, Effect, HostPath, PutFile
from manor.operations.step import Here, Step
from manor.reconcile.site import fence
from manor.reconcile.steps import FenceHost, PrepareHost
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier
from manor.rollout.fleet import ProbeSummary, SlotLetter
from manor.rollout.framing import Bake, BurnRelease, Certify, Conclude, Preflight, SetMaintenance, SpareRelease, StartProbe, StopProbe
from manor.rollout.live import LiveFleet
from manor.rollout.losses import SoFar
from manor.rollout.moving import AdmitSlot, DrainSlot, ForgetSlot, KeepOut, WithholdSlots
from manor.rollout.release import make_release
from manor.rollout.slots import PlaceRelease, StartSlot, WarmSlot
from manor.rollout.stopping import StopSlot
from manor.state import operations
from manor.state.operations import NewOperation
from manor.workflows.applying import APPLY_KINDS
from manor.workflows.context import Context
from manor.workflows.ending_hosts import DOWN_KINDS, EndHost, EndPart, EndProbes, GiveBack, JudgePart, LiveEnding
from manor.workflows.removing import REMOVE_KINDS, ForgetInstance
from manor.workflows.rolling import ROLLOUT_KINDS
from tests.reconcile.test_parts import OWN, PartToy
from tests.reconcile.toys import ROOT, Toy, wiring_of
from tests.rollout.conftest import rollouts  # noqa: F401 - a fixture
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore

TIER = "0-web-nginx"
HOST = "web-1"
ECHO_B: tuple[str, str, SlotLetter] = ("echo", HOST, "b")
PORT = 8301
LISTENER = 18301
"""Slot b's, at the program and at its web tier."""


@dataclass(frozen=True)
class Case:
    """A kind of step, and what of its host it would touch."""

    make: Callable[[str], Step[Any]]
    """From the release's short id."""
    paths: tuple[str, ...] = ()
    """Below the host's root: each of them is what stands in its way."""
    ports: tuple[int, ...] = ()
    needs_nothing: bool = False
    """It acts on no host: whatever is untouchable there, it can be done and touches nothing."""
    traffic: str = "maint"
    """What its balancer says of its servers."""


def drain(release: str) -> DrainSlot:
    return DrainSlot(*ECHO_B, release, others_needed=0, drain_seconds=0.1, settle_seconds=0.0, policy="cut", timeout_seconds=60.0)


CASES = [
    Case(lambda _: FenceHost(HOST), paths=("fence", "manifest.json")),
    Case(lambda _: PrepareHost(HOST), paths=("fence", "etc/pages", "run", "releases", "slots", "shared", "ops", "state", "tls", "README.md", "log", "s")),
    Case(lambda _: CheckTier(HOST, TIER), paths=("fence", "ops")),
    Case(lambda _: CheckSupervisor(HOST), paths=("fence", "ops")),
    Case(lambda _: ChangeTier(HOST, TIER), paths=("fence", f"etc/{TIER}", "ops", "s")),
    Case(lambda _: Supervise(HOST), paths=("fence", "etc/supervisor", "s")),
    Case(lambda _: VerifyTier(HOST, TIER), paths=("fence", "run", "s")),
    Case(
        lambda _: ConfirmTier(HOST, TIER),
        paths=(
            "fence",
            "s",
        ),
    ),
    Case(lambda _: TellTier(HOST, TIER), paths=("fence", "s", "run")),
    Case(lambda release: Preflight("echo", release, ((HOST, "b"),)), paths=("fence", "s"), ports=(PORT,)),
    Case(lambda release: PlaceRelease(*ECHO_B, release), paths=("fence", "releases", "slots", "shared", "s")),
    Case(lambda release: StartSlot(*ECHO_B, release), paths=("fence", "slots", "s")),
    Case(
        lambda release: WarmSlot(*ECHO_B, release, passes=1, min_healthy_seconds=0.0, interval_seconds=0.1, timeout_seconds=60.0),
        paths=("fence", f"state/{TIER}", "s"),
        ports=(LISTENER,),
    ),
    Case(lambda release: AdmitSlot(*ECHO_B, release), paths=("fence", f"state/{TIER}", "s")),
    Case(drain, paths=("fence", f"state/{TIER}", "s"), traffic="ready"),
    Case(lambda release: StopSlot(*ECHO_B, release), paths=("fence", f"state/{TIER}", "slots", "s")),
    Case(lambda release: WithholdSlots("echo", ((HOST, "b"),), 0), paths=("fence", f"state/{TIER}", "s")),
    Case(lambda _: KeepOut("echo", ((HOST, "b"),), 0), paths=("fence", f"state/{TIER}", "s"), traffic="ready"),
    Case(lambda release: SetMaintenance("echo", release), paths=("fence", f"state/{TIER}")),
    Case(lambda release: Bake("echo", release, hosts=((HOST, "b"),)), ports=(LISTENER,)),
    Case(lambda release: ForgetInstance(*ECHO_B, release), paths=("fence", "slots", "releases", "s")),
    Case(lambda _: EndHost(HOST), paths=("fence", "s")),
    Case(lambda _: JudgePart(HOST, TIER), paths=("fence", "ops")),
    Case(lambda _: EndPart(HOST, TIER), paths=("fence", "ops", str(OWN))),
    Case(lambda _: EndProbes(), needs_nothing=True),
    Case(lambda _: GiveBack(), needs_nothing=True),
    Case(lambda release: StartProbe("echo", release), needs_nothing=True),
    Case(lambda release: StopProbe("echo", release), needs_nothing=True),
    Case(lambda release: Certify("echo", release), needs_nothing=True),
    Case(lambda release: SpareRelease("echo", release, "why"), needs_nothing=True),
    Case(lambda release: BurnRelease("echo", release, "why"), needs_nothing=True),
    Case(lambda release: Conclude("echo", release), needs_nothing=True),
    Case(lambda release: ForgetSlot(*ECHO_B, release), needs_nothing=True),
]
BY_KIND = {case.make("").kind: case for case in CASES}


def every_kind() -> dict[str, type[Step[Any]]]:
    """Return every class of step in the package that has a kind of its own."""
    for module in pkgutil.walk_packages(manor.__path__, "manor."):
        if not module.name.endswith("__main__") and ".migrations" not in module.name:
            importlib.import_module(module.name)
    return {found.kind: found for found in subclasses(cast("type[Step[Any]]", Step)) if "kind" in vars(found) and found.__module__.startswith("manor.")}


def subclasses(parent: type[Step[Any]]) -> Iterator[type[Step[Any]]]:
    for child in parent.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_kind_of_step_has_a_case_and_an_executor() -> None:
    kinds = every_kind()
    assert set(BY_KIND) == set(kinds)
    assert {type(case.make("")) for case in CASES} == set(kinds.values())
    known = {kind for kinds in (APPLY_KINDS, ROLLOUT_KINDS, REMOVE_KINDS, DOWN_KINDS) for kind in kinds._kinds.values()}
    assert known == set(kinds.values())


@dataclass
class Probing:
    """A prober that only notes."""

    asked: list[str] = field(default_factory=list)

    async def start(self, operation: str) -> None:
        self.asked.append("start")

    async def so_far(self, operation: str) -> SoFar:
        return SoFar()

    async def stop(self, operation: str) -> ProbeSummary:
        self.asked.append("stop")
        return ProbeSummary(10, 0)


@dataclass
class Stage:
    """The toy host with both slots known to the store, and what steps are carried out with."""

    toy: Toy
    part: PartToy
    """The same host, on the same runner, with its tier as a part of somebody else's program."""
    release: str
    fleet: LiveFleet
    here: Here

    async def act(self, case: Case) -> None:
        step = case.make(self.release)
        self.toy.runner.reply("servers", Completed(0, case.traffic.encode()))
        await step.act(self.ports_of(step), self.here)

    def ports_of(self, step: Step[Any]) -> Any:
        """Return what a kind acts with."""
        if type(step) in set(DOWN_KINDS._kinds.values()):
            ending = LiveEnding(cast("Context", SimpleNamespace(store=self.toy.site.store, folder=self.fleet.artifacts)), "prod")
            ending.site = (self.part if isinstance(step, JudgePart | EndPart) else self.toy).site
            return ending
        return self.toy.site if type(step) in set(APPLY_KINDS._kinds.values()) else self.fleet

    def forbid(self, **what: Any) -> int:
        self.toy.runner.guard = replace(self.toy.runner.guard, untouchable=Untouchable(**what))
        return len(self.toy.runner.acts)


@pytest.fixture
def stage(tmp_path: Path, rollouts: InlineStore) -> Stage:  # noqa: F811
    rollouts.clock = ModelClock(World(1, 1, {}))
    toy = Toy(wiring_of(tmp_path), rollouts)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("app.py"), io.BytesIO(b""))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    (tmp_path / f"{digest}.tar").write_bytes(packed.getvalue())
    release = make_release("echo", toy.wiring.environment.services["echo"], digest)
    operation = rollouts.write_now(operations.create, NewOperation("ship", "prod", "echo"), at=rollouts.clock.now())
    rollouts.write_now(operations.begin, operation.id, 9, at=rollouts.clock.now())
    toy.runner.reply("status", Completed(0, json.dumps({"echo-a": "stopped", "echo-b": "stopped", f"tier-{TIER}": "running"}).encode()))
    toy.runner.files.carry_out(PutFile(toy.host.tiers[0].files[0].path, b"former"))
    toy.runner.files.carry_out(PutFile(toy.host.layout.exec, b"wrapper"))
    part = PartToy(toy.wiring, rollouts)
    part.runner = toy.runner
    part.runner.guard = replace(part.runner.guard, roots=(*part.runner.guard.roots, OWN))
    part.lie_there()
    part.there({OWN: b"ours"})
    fleet = LiveFleet(toy.site, "echo", {release.short: release}, tmp_path, Probing(), patience_seconds=0.0)
    return Stage(toy, part, release.short, fleet, Here(operation.id, 1, "op/1", 9, 1, 2_000_000.0, lambda text: None))


TOUCHING = [kind for kind, case in BY_KIND.items() if not case.needs_nothing and case.paths]
PLACES = [(kind, path) for kind, case in BY_KIND.items() for path in case.paths]
KNOCKING = [(kind, port) for kind, case in BY_KIND.items() for port in case.ports]


@pytest.mark.parametrize("kind", TOUCHING)
async def test_nothing_at_all_is_done_on_a_host_whose_folder_is_not_ours(stage: Stage, kind: str) -> None:
    before = stage.forbid(paths=(ROOT,))
    with pytest.raises(NotOurs, match=rf"prod/web-1: untouchable.paths: {ROOT} is not Manor's to touch"):
        await stage.act(BY_KIND[kind])
    assert stage.toy.runner.acts[before:] == []


@pytest.mark.parametrize(("kind", "path"), PLACES)
async def test_a_kind_stops_before_a_path_in_its_way(stage: Stage, kind: str, path: str) -> None:
    before = stage.forbid(paths=(ROOT / path,))
    with pytest.raises(NotOurs, match=rf"prod/web-1: untouchable.paths: {ROOT / path} is not Manor's to touch"):
        await stage.act(BY_KIND[kind])
    touched = [place for act in stage.toy.runner.acts[before:] for place in touched_paths(act)]
    assert not [place for place in touched if is_inside(place, ROOT / path)]


@pytest.mark.parametrize(("kind", "port"), KNOCKING)
async def test_a_kind_stops_before_a_port_in_its_way(stage: Stage, kind: str, port: int) -> None:
    before = stage.forbid(ports=(port,))
    with pytest.raises(NotOurs, match=rf"prod/web-1: untouchable.ports: {port} is not Manor's to touch"):
        await stage.act(BY_KIND[kind])
    assert not [act for act in stage.toy.runner.acts[before:] if str(port) in str(act)]


@pytest.mark.parametrize("kind", [kind for kind, case in BY_KIND.items() if case.needs_nothing])
async def test_a_kind_that_acts_on_no_host_touches_nothing_there(stage: Stage, kind: str) -> None:
    before = stage.forbid(paths=(HostPath("/"),), ports=tuple(range(1, 65536)))
    await stage.act(BY_KIND[kind])
    assert stage.toy.runner.acts[before:] == []


ONLY_LOOKS = {"bake"}
"""It asks for health and touches nothing."""


@pytest.mark.parametrize("kind", [kind for kind in TOUCHING if kind not in ONLY_LOOKS])
async def test_a_kind_does_nothing_on_a_host_that_has_seen_a_newer_token(stage: Stage, kind: str) -> None:
    """Its executor was stopped for longer than its lease lives, and wakes up."""
    host, runner = stage.toy.host, stage.toy.runner
    await fence(host, runner, "state-1", "prod", stage.here.token + 1)
    before = len(runner.acts)
    with pytest.raises(FencedOff, match="token 9 for prod is older than 10 for prod, which this host has seen; refused"):
        await stage.act(BY_KIND[kind])
    asked = {"ready", "servers", "status"}
    changing = [act for act in runner.acts[before:] if act.touch.effect is not Effect.READ and getattr(act, "line", "") not in asked]
    assert changing == []
