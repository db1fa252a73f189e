"""A shop that is delivered through two environments of a model: real plans, journal and store, and fleets in unit time."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from manor.estate.layout import short
from manor.estate.load import load_estate
from manor.operations.chaos import Point
from manor.operations.step import Here
from manor.rollout.looking import look_at_instances
from manor.rollout.plan import InstanceNow
from manor.rollout.release import Release
from manor.state import releases
from manor.workflows import delivery, resuming, rollback, rolling
from manor.workflows.context import Context
from tests.rollout.conftest import without_fsync
from tests.rollout.model import ModelFleet, World
from tests.rollout.natures import Behaviour
from tests.rollout.running import InlineStore, Killer

ESTATE = """\
estate: delivered
services:
  shop:
    run: {command: "shop {address}:{port}", port: 8100}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: shop}]
    rollout: {min_healthy_time: 200ms, settle: 100ms, instance_deadline: 2s, bake: 200ms}
environments:
  dev: {hosts: {edge: 1, web: 1}}
  prod: {after: dev, hosts: {edge: 1, web: 1}}
"""


class Shop(ModelFleet):
    """A model of one environment whose certifications are in the store, as they really are."""

    def __init__(self, world: World, context: Context, environment: str, catalog: dict[str, Release]) -> None:
        super().__init__(world, context.store)
        self.environment, self.catalog = environment, catalog

    async def certify(self, service: str, release: str, here: Here) -> None:
        row = await self.store.read(releases.get_release, release)
        await self.store.write(releases.certify_rollout, self.environment, service, row.id, here.operation, here.token, at=self.store.clock.now())
        await super().certify(service, release, here)

    async def burn(self, service: str, release: str, why: str, here: Here) -> None:
        row = await self.store.read(releases.get_release, release)
        await self.store.write(releases.burn_rollout, self.environment, service, row.id, here.operation, here.token, why, at=self.store.clock.now())
        await super().burn(service, release, why, here)


class Worlds:
    """The model of each environment; a release behaves well unless it is told otherwise by environment."""

    def __init__(self) -> None:
        self.natures: dict[str, defaultdict[str, Behaviour]] = {name: defaultdict(Behaviour) for name in ("dev", "prod")}
        self.worlds = {name: World(1, 1, self.natures[name]) for name in ("dev", "prod")}

    def make_fleet(self, context: Context, environment: str, _service: str, catalog: dict[str, Release]) -> Shop:
        return Shop(self.worlds[environment], context, environment, catalog)

    async def instances_now(self, context: Context, environment: str, service: str) -> tuple[tuple[InstanceNow, ...], list[Release]]:
        world = self.worlds[environment]
        found = await look_at_instances(self.make_fleet(context, environment, service, {}), service, world.hosts, ("a", "b"))
        filled = tuple(replace(now, release=world.placed.get(f"{now.host}-{now.active}", "")) for now in found)
        known = [row for row in await context.store.read(releases.recent_releases, service) if short(row.id) in world.placed.values()]
        return filled, [Release(row.service, row.artifact, row.manifest) for row in known]

    async def releases_serving(self, context: Context, environment: str, service: str) -> set[str]:
        now, known = await self.instances_now(context, environment, service)
        serving = {one.release for one in now if one.active}
        return {release.id for release in known if release.short in serving}


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Worlds:
    async def no_receipt(*_: object) -> tuple[None, str]:
        return None, ""

    made = Worlds()
    monkeypatch.setattr(rolling, "make_fleet", made.make_fleet)
    monkeypatch.setattr(rolling, "instances_now", made.instances_now)
    monkeypatch.setattr(rollback, "releases_serving", made.releases_serving)
    monkeypatch.setattr(delivery, "receipt_or_reason", no_receipt)
    monkeypatch.setattr(resuming, "receipt_or_reason", no_receipt)
    return made


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    InlineStore.open(folder).close()
    return folder / "state.db"


@pytest.fixture
def context(alone: Path, empty_state: Path, worlds: Worlds) -> Iterator[Context]:
    (alone / "estate.yaml").write_text(ESTATE)
    (alone / "state").mkdir(mode=0o700)
    shutil.copy(empty_state, alone / "state" / "state.db")
    with InlineStore.open(alone / "state") as store:
        sa.event.listen(store._engine, "connect", without_fsync)
        store._engine.dispose()
        made = Context(alone / "estate.yaml", load_estate(alone / "estate.yaml"), store)
        for name in made.estate.environments:
            made.wiring(name)  # as after `manor up`: its addresses are claimed
        yield made


class KilledAt(Killer):
    """Kills at one moment of a kind."""

    def __init__(self, kind: str, point: Point) -> None:
        super().__init__()
        self.moment = (kind, point)

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        if (kind, point) == self.moment:
            self.n = self.passed + 1
        self.pass_by()
