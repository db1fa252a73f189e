"""The model keeps the contract of a fleet, so that what it proves of rollouts holds for the real one (tests/e2e/test_fleet_contract.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from manor.estate.topology import TrafficState
from manor.operations.step import Here
from manor.state import operations
from manor.state.operations import NewOperation
from tests.rollout.fleet_contract import FleetContract, Stage
from tests.rollout.model import EXPIRY, ModelClock, ModelFleet, World
from tests.rollout.natures import Behaviour
from tests.rollout.running import InlineStore

NATURES = {"good": Behaviour(), "newer": Behaviour(), "sick": Behaviour(answers=500), "dying": Behaviour(dies_after=0.5, boot=99.0)}


class ModelStage(Stage):
    """A model of two hosts behind one balancer."""

    good, newer, sick, dying = "good", "newer", "sick", "dying"
    expiry_seconds = EXPIRY

    def __init__(self, store: InlineStore) -> None:
        self.world = World(2, 1, NATURES)
        store.clock = ModelClock(self.world)
        self.store, self.fleet = store, ModelFleet(self.world, store)
        self.here = self._begin()

    def _begin(self) -> Here:
        operation = self.store.write_now(operations.create, NewOperation("ship", "prod", "echo"), at=self.world.now)
        self.store.write_now(operations.begin, operation.id, 9, at=self.world.now)
        return Here(operation.id, 1, "op/1", 9, 1, 2_000_000.0, lambda text: None)

    async def begin_another(self) -> Here:
        return self._begin()

    async def set_by_hand(self, server: str, state: TrafficState) -> None:
        self.world.balancers[0].traffic[server] = state

    async def leave_alone(self, seconds: float) -> None:
        self.world.advance(seconds + 1.0)

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        self.world.slow = dict.fromkeys(self.world.servers, 2.0)
        self.world.advance(0.1)
        yield

    async def kill_supervisor(self, host: str) -> None:
        self.world.unsupervised.add(host)

    async def standing(self, release: str) -> str:
        return self.world.standing.get(release, "")


class TestContract(FleetContract):
    @pytest.fixture
    def stage(self, rollouts: InlineStore) -> Stage:
        return ModelStage(rollouts)
