"""What needs a person: one line a reason, with the command that mends it (docs/verbs/status.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from click import unstyle

from manor.cli.status import status_lines
from manor.state.operations import Operation
from manor.state.words import OperationState
from manor.workflows.status import EnvironmentStatus, HostStatus, LeftStatus, ServiceStatus, SlotStatus, all_agree

NEW, OLD = "bb68afafe405", "0123456789ab"
WELL = SlotStatus("web-1-a", "web-1", NEW, "ready", "ready", True, 0)
OTHER = replace(WELL, server="web-2-a", host="web-2")
IDLE = SlotStatus("web-1-b", "web-1", OLD, "none", "maint", None, 0)
SICK = replace(WELL, is_healthy=False)
SHOP = ServiceStatus("shop", NEW, (WELL, IDLE, OTHER))
HOST = HostStatus("web-1", "127.16.2.2", 2, ())
LOOK = "look with `manor logs shop -e prod`, then `manor service restart shop -e prod`"


def operation(state: OperationState, **more: str) -> Operation:
    """Return an operation of the shop."""
    values = {"phase": "", "summary": "", "service": "shop", "verb": "ship", **more}
    return Operation(
        "op-1", values["verb"], "prod", values["service"], "ada", "{}", "", "", 7, state, values["phase"], values["summary"], 0, None, 1.0, 1.0, None
    )


def prod(service: ServiceStatus = SHOP, host: HostStatus = HOST, **more: object) -> EnvironmentStatus:
    """Return a status in which all is well but for what is given."""
    return replace(EnvironmentStatus("prod", (host,), (service,), (), (), ()), **more)  # type: ignore[arg-type]


def shop(*slots: SlotStatus, **more: object) -> EnvironmentStatus:
    """Return a status whose shop has these slots."""
    return prod(replace(SHOP, slots=slots, **more))  # type: ignore[arg-type]


def cases() -> Iterator[tuple[str, EnvironmentStatus, tuple[str, ...]]]:
    """Yield a name, a status and what it needs."""
    yield "all is well", prod(), ()
    yield "nothing was released", shop(replace(IDLE, release=""), certified=""), ()
    yield "checks have not agreed yet", shop(replace(WELL, is_healthy=None)), ()
    yield "a total outage", shop(SICK, IDLE, replace(OTHER, is_healthy=False)), (f"shop serves nowhere: web-1-a, web-2-a are unhealthy; {LOOK}",)
    yield "nothing has traffic", shop(IDLE), (f"shop serves nowhere; {LOOK}",)
    yield "one is down", shop(SICK, OTHER), (f"shop: web-1-a is unhealthy; {LOOK}",)
    old = "shop: web-2 serves 0123456789ab, not the certified bb68afafe405; `manor service restart shop -e prod`"
    yield "one has an old release", shop(WELL, replace(OTHER, release=OLD)), (old,)
    yield "the balancer is silent", shop(replace(WELL, seen=""), problem="edge-1 does not answer"), ("shop: edge-1 does not answer",)
    yield "taken out by hand", shop(WELL, taken_out=("edge-1 has web-2-a out; end it with `x`",)), ("edge-1 has web-2-a out; end it with `x`",)
    dead = "web-1: not running: tier-web; `manor up -e prod` starts it, its log is in `manor logs --host web-1`"
    yield "a program is dead", prod(host=replace(HOST, not_running=("tier-web",))), (dead,)
    yield "not up", prod(is_up=False), ("prod is not up; `manor up -e prod`",)
    running, paused = operation(OperationState.RUNNING, phase="draining"), operation(OperationState.PAUSED, summary="web-1 is held")
    yield "under way", prod(unfinished=(running,), carried_out=("op-1",)), ()
    ways = "`manor resume op-1`, or `manor abandon op-1 --reason …`"
    yield "left", prod(unfinished=(running,)), (f"ship prod/shop is half done, and nobody carries it out (draining): {ways}",)
    yield "paused", prod(unfinished=(paused,)), (f"ship prod/shop is paused (web-1 is held): {ways}",)
    yield "paused without a word", prod(unfinished=(replace(paused, summary=""),)), (f"ship prod/shop is paused: {ways}",)
    left = LeftStatus(operation(OperationState.FAILED), ("web-1", "web-2"))
    yield "not brought back", prod(left=(left,)), ("ship prod/shop failed, and web-1, web-2 were not brought back: `manor resume op-1 --only failed`",)


@pytest.mark.parametrize(("status", "needs"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_needs(status: EnvironmentStatus, needs: tuple[str, ...]) -> None:
    assert status.needs == needs
    assert status.is_well is (needs == ())
    shown = [unstyle(line) for line in status_lines(replace(status, unfinished=() if status.carried_out else status.unfinished))]
    assert [line for line in shown if line.startswith("  needs you")] == [f"  needs you  {need}" for need in needs]


@pytest.mark.parametrize(("said", "healthy"), [([], None), ([True, True], True), ([True, None], None), ([None, False], False)])
def test_balancers_agree_on_health(said: list[bool | None], healthy: bool | None) -> None:
    assert all_agree(said) is healthy
