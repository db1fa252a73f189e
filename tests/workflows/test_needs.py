"""What needs a person: one line a reason, with the command that mends it (docs/verbs/status.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from click import unstyle

from manor.cli.status import status_lines
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.releases import SlotRow
from manor.state.words import OperationState, Slot, Traffic
from manor.workflows.health import SeenAt, all_agree
from manor.workflows.status import EnvironmentStatus, HostStatus, LeftStatus, ServiceStatus, SlotStatus, slot_status

NEW, OLD = "bb68afafe405", "0123456789ab"
UP, DOWN, CHECKED, DRAIN, OUT = ("ready", True), ("ready", False), ("ready", None), ("drain", True), ("maint", None)


def slot(*edges: tuple[str, bool | None], name: str = "web-1-a", release: str = NEW) -> SlotStatus:
    """Return a slot as edge-1, edge-2, … treat it."""
    at = tuple(SeenAt(f"edge-{number}", *said) for number, said in enumerate(edges, 1))
    row = SlotRow("prod", "shop", f"shop@{name[:-2]}#1", Slot(name[-1]), release, Traffic.READY if name.endswith("a") else Traffic.NONE, "op", 1.0)
    return slot_status(name, name[:-2], row, at)


WELL, SICK, OTHER = slot(UP), slot(DOWN), slot(UP, name="web-2-a")
IDLE = slot(OUT, name="web-1-b", release=OLD)
SHOP = ServiceStatus("shop", NEW, (WELL, IDLE, OTHER))
HOST = HostStatus("web-1", "127.16.2.2", 2, ())
HELD = Lease("prod/shop", 7, "op-1", "here", "boot", "ns", 4711, 1, 1.0, 1.0, 61.0)
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
    yield "nothing was released", shop(slot(OUT, name="web-1-b", release=""), certified=""), ()
    yield "checks have not agreed yet", shop(slot(CHECKED)), ()
    yield "a total outage", shop(SICK, IDLE, slot(DOWN, name="web-2-a")), (f"shop serves nowhere: web-1-a, web-2-a are unhealthy; {LOOK}",)
    yield "nothing has traffic", shop(IDLE), (f"shop serves nowhere; {LOOK}",)
    yield "one is down", shop(SICK, OTHER), (f"shop: web-1-a is unhealthy; {LOOK}",)
    old = "shop: web-2 serves 0123456789ab, not the certified bb68afafe405; `manor service restart shop -e prod`"
    yield "one has an old release", shop(WELL, slot(UP, name="web-2-a", release=OLD)), (old,)
    yield "the balancer is silent", shop(slot(), problem="edge-1 does not answer"), ("shop: edge-1 does not answer",)
    yield "taken out by hand", shop(WELL, taken_out=("edge-1 has web-2-a out; end it with `x`",)), ("edge-1 has web-2-a out; end it with `x`",)
    dead = "web-1: not running: tier-web; `manor up -e prod` starts it, its log is in `manor logs --host web-1`"
    yield "a program is dead", prod(host=replace(HOST, not_running=("tier-web",))), (dead,)
    yield "not up", prod(is_up=False), ("prod is not up; `manor up -e prod`",)
    running, paused = operation(OperationState.RUNNING, phase="draining"), operation(OperationState.PAUSED, summary="web-1 is held")
    yield "under way", prod(unfinished=(running,), carried_out=("op-1",), held=(HELD,)), ()
    ways = "`manor resume op-1`, or `manor abandon op-1 --reason …`"
    yield "left", prod(unfinished=(running,)), (f"ship prod/shop is half done, and nobody carries it out (draining): {ways}",)
    yield "paused", prod(unfinished=(paused,)), (f"ship prod/shop is paused (web-1 is held): {ways}",)
    yield "paused without a word", prod(unfinished=(replace(paused, summary=""),)), (f"ship prod/shop is paused: {ways}",)
    left = LeftStatus(operation(OperationState.FAILED), ("web-1", "web-2"))
    yield "not brought back", prod(left=(left,)), ("ship prod/shop failed, and web-1, web-2 were not brought back: `manor resume op-1 --only failed`",)


def cases_of_balancers() -> Iterator[tuple[str, EnvironmentStatus, tuple[str, ...]]]:
    """Yield what is told where balancers disagree, or an operation is unfinished: each is judged by itself, and no advice makes it worse."""
    out = ("edge-1 has web-1-a out; end it with `x`",)
    part = "shop serves only in part: edge-1: nothing in traffic; edge-2 serves"
    yield "one drains what the other uses", shop(slot(DRAIN, UP), taken_out=out), (*out, f"{part}; first return what was taken out of traffic")
    yield "both have something else out", shop(slot(DRAIN, UP), slot(UP, DRAIN, name="web-2-a")), ()
    yield "nobody took it out by hand", shop(slot(DRAIN, UP)), (f"{part}; {LOOK}",)
    way = "other balancers find the same programs healthy: look at the way to them, with `manor logs --host edge-1 -e prod`"
    part = "shop serves only in part: edge-1: nothing healthy; edge-2 serves"
    yield "one can't reach it", shop(slot(DOWN, UP)), (f"{part}; {way}",)
    yield "one can't reach some", shop(slot(DOWN, UP), OTHER), (f"shop: web-1-a is unhealthy to edge-1, healthy to edge-2; {way}",)
    yield "down to one, unused by the other", shop(slot(DOWN, OUT), slot(DRAIN, UP, name="web-2-a")), (f"{part}; {LOOK}",)
    answer = "have edge-2 answer first: `manor up -e prod`"
    told = "shop serves only in part: edge-1: nothing healthy; edge-2 does not answer"
    yield "down to one, the other silent", shop(SICK, problem="edge-2: refused", silent=("edge-2",)), ("shop: edge-2: refused", f"{told}; {answer}")
    unfinished = (operation(OperationState.RUNNING, phase="draining"),)
    at_work = replace(prod(), unfinished=unfinished, carried_out=("op-1",), held=(HELD,))
    wait = "an operation of it is unfinished: let that end first"
    nowhere = f"shop serves nowhere: web-1-a is unhealthy; {wait}"
    yield "an outage under a rollout", replace(at_work, services=shop(SICK).services), (nowhere,)
    yield "taken out by a rollout", replace(at_work, services=shop(IDLE).services), ()
    yield "one is down under a rollout", replace(at_work, services=shop(SICK, OTHER).services), ()
    yield "an outage before the first certified", shop(SICK, certified=""), (f"shop serves nowhere: web-1-a is unhealthy; {LOOK}",)


CASES = (*cases(), *cases_of_balancers())


@pytest.mark.parametrize(("status", "needs"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_needs(status: EnvironmentStatus, needs: tuple[str, ...]) -> None:
    assert status.needs == needs
    assert status.is_well is (needs == ())
    shown = [unstyle(line) for line in status_lines(status)]
    assert [line for line in shown if line.startswith("  needs you")] == [f"  needs you  {need}" for need in needs]


@pytest.mark.parametrize(("said", "healthy"), [([], None), ([True, True], True), ([True, None], None), ([None, False], False), ([True, False], None)])
def test_balancers_agree_on_health(said: list[bool | None], healthy: bool | None) -> None:
    assert all_agree(said) is healthy
