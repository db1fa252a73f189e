"""The rollouts that are killed at every moment."""

from __future__ import annotations

from functools import partial
from typing import Any

from manor.state.words import OperationState
from tests.rollout.model import World
from tests.rollout.natures import Behaviour
from tests.rollout.running import Case, quick

GOOD = Behaviour()
NATURES = {
    "500s": Behaviour(answers=500),
    "does_not_start": Behaviour(boot=99.0, dies_after=0.5),
    "never_answers": Behaviour(boot=9999.0),
    "flaps": Behaviour(restarts_every=0.8),
    "exits_after_admit": Behaviour(dies_in_traffic_after=0.9),
}
ONE_SLOT = {"strategy": "in_turn"}
UNCHECKED: dict[str, Any] = {"is_counted": False, "checks": False}
"""A chain of `web` alone: each host is a front door of its own."""
SINGLETON = {"strategy": "interrupt", "min_healthy": 1.0, "longest_outage": 60.0}


def world(new: Behaviour, hosts: int, balancers: int, *, serves: bool = True, **kinds: Any) -> World:
    """Return a world in which `old` serves, or nothing yet."""
    made = World(hosts, balancers, {"old": GOOD, "new": new}, **kinds)
    if serves:
        made.serve("old")
    return made


def case(name: str, new: Behaviour = GOOD, hosts: int = 3, balancers: int = 1, rules: dict[str, Any] | None = None, **kinds: Any) -> Case:
    """Return a case; a release that works is expected to be certified, another one to be turned round."""
    expected = OperationState.DONE if new is GOOD else OperationState.REVERTED
    faults = new.dies_in_traffic_after is not None
    return Case(name, partial(world, new, hosts, balancers, **kinds), expected, quick(**(rules or {})), faults=faults)


QUICK = (
    case("first", hosts=1, serves=False),
    case("first_fails", NATURES["500s"], hosts=1, serves=False),
    case("second", hosts=2),
    case("500s", NATURES["500s"]),
    case("does_not_start", NATURES["does_not_start"], hosts=1),
    case("flaps", NATURES["flaps"], hosts=1),
    case("exits_after_admit", NATURES["exits_after_admit"], hosts=2),
    case("in_turn", hosts=2, rules=ONE_SLOT, slots="a"),
    case("in_turn_500s", NATURES["500s"], hosts=2, rules=ONE_SLOT, slots="a"),
    case("interrupt", hosts=1, rules=SINGLETON, slots="a"),
    case("interrupt_fails", NATURES["does_not_start"], hosts=1, rules=SINGLETON, slots="a"),
    case("timed", hosts=1, is_counted=False),
    case("static", hosts=1, has_program=False),
    case("alone", hosts=1, **UNCHECKED),
    case("alone_500s", NATURES["500s"], hosts=1, **UNCHECKED),
    case("alone_exits_after_admit", NATURES["exits_after_admit"], hosts=1, **UNCHECKED),
)
KINDS: tuple[tuple[str, Behaviour, dict[str, Any]], ...] = (
    ("first", GOOD, {"serves": False}),
    ("second", GOOD, {}),
    ("timed", GOOD, {"is_counted": False}),
    ("static", GOOD, {"has_program": False}),
    ("in_turn", GOOD, {"rules": ONE_SLOT, "slots": "a"}),
    *((name, nature, {}) for name, nature in NATURES.items()),
    *((f"in_turn_{name}", nature, {"rules": ONE_SLOT, "slots": "a"}) for name, nature in NATURES.items()),
)
THOROUGH = tuple(
    case(f"{name}_{hosts}x{balancers}", nature, hosts, balancers, **kinds) for hosts, balancers in ((2, 1), (3, 2), (5, 2)) for name, nature, kinds in KINDS
)
