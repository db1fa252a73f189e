"""A status page with everything on it, for tests and for looking at."""

from __future__ import annotations

from manor.web.views import (
    EnvironmentView,
    InstanceView,
    OperationView,
    ReceiptView,
    RunView,
    ServiceView,
    SlotView,
    StatusPage,
)

NOW = 1_790_000_000.0
COMMITS = ("1c246dc3228c" + "0" * 28, "9f31ab0c77de" + "0" * 28, "77aa01d2b3c4" + "0" * 28)


def slots(a: str, b: str, active: str = "a", other: str = "idle") -> tuple[SlotView, ...]:
    """Return the two slots of an instance."""
    mine = {"a": a, "b": b}
    return tuple(
        SlotView(slot=name, release=release, traffic="serving" if name == active else other if release else "idle", is_healthy=True if name == active else None)
        for name, release in mine.items()
    )


def service(name: str, hosts: int, release: str, state: str, url: str = "") -> ServiceView:
    """Return a service on some hosts."""
    instances = tuple(InstanceView(host=f"web-{n}", slots=slots(release, "3d0c5be81f22")) for n in range(1, hosts + 1))
    return ServiceView(name=name, release=release, state=state, url=url, instances=instances)


MIXED = ServiceView(
    name="warehouse",
    release="3d0c5be81f22, 8be1f00dc0de",
    state="mixed",
    url="https://warehouse.prod.localhost:8743",
    instances=(
        InstanceView(host="web-1", slots=slots("8be1f00dc0de", "3d0c5be81f22")),
        InstanceView(host="web-2", slots=slots("8be1f00dc0de", "3d0c5be81f22", other="draining")),
        InstanceView(host="web-3", slots=slots("", "3d0c5be81f22", active="b")),
    ),
)

ENVIRONMENTS = (
    EnvironmentView(
        name="dev", services=(service("warehouse", 1, "8be1f00dc0de", "certified", "https://warehouse.dev.localhost:8443"), ServiceView(name="shop"))
    ),
    EnvironmentView(name="test", after="dev", services=(service("warehouse", 1, "8be1f00dc0de", "certified"),)),
    EnvironmentView(name="stage", after="test", services=(service("warehouse", 2, "8be1f00dc0de", "certified"),)),
    EnvironmentView(name="prod", after="stage", note="held by ship warehouse since 22:12:40 (manor serve, pid 4711)", services=(MIXED,)),
)

OPERATIONS = (
    OperationView(
        id="20260920t221240-0c31fe",
        verb="ship",
        environment="prod",
        service="warehouse",
        actor="ann",
        state="running",
        phase="draining",
        summary="web-2: 12 requests in flight",
        started_at=NOW - 94,
    ),
    OperationView(
        id="20260920t221312-51aa0c",
        verb="ship",
        environment="stage",
        service="shop",
        actor="jenkins",
        state="paused",
        phase="admitting",
        summary="web-2 unhealthy for 30 s",
        started_at=NOW - 62,
    ),
)

RUNS = (
    RunView(
        id="r3",
        repository="warehouse",
        ref="refs/heads/main",
        commit=COMMITS[0],
        actor="ann",
        state="passed",
        summary="41 tests",
        created_at=NOW - 130,
        started_at=NOW - 129,
        ended_at=NOW - 98.4,
    ),
    RunView(
        id="r2",
        repository="shop",
        ref="refs/heads/main",
        commit=COMMITS[1],
        actor="bob",
        state="failed",
        summary="test: 2 of 128 failed",
        created_at=NOW - 2400,
        started_at=NOW - 2399,
        ended_at=NOW - 2310,
    ),
    RunView(
        id="r1",
        repository="warehouse",
        ref="refs/heads/main",
        commit=COMMITS[2],
        actor="<script>alert(1)</script>",
        state="waiting",
        created_at=NOW - 9000,
    ),
)

RECEIPTS = (
    ReceiptView(
        operation="20260920t220901-7d10aa",
        environment="stage",
        service="warehouse",
        release="8be1f00dc0de11",
        state="certified",
        lost=0,
        sent=412,
        created_at=NOW - 260,
    ),
    ReceiptView(
        operation="20260919t101500-00c0de",
        environment="prod",
        service="shop",
        release="aa01d2b3c4d5e6",
        state="rolled_back",
        why="web-1: /healthz answers 500, not 200",
        lost=3,
        sent=530,
        created_at=NOW - 130000,
    ),
    ReceiptView(
        operation="20260918t101500-00f00d",
        environment="prod",
        service="shop",
        release="bb01d2b3c4d5e6",
        state="certified",
        lost=0,
        sent=0,
        created_at=NOW - 230000,
    ),
)


def full_page() -> StatusPage:
    """Return a page in the middle of a rollout."""
    problems = ("ship stage/shop is paused (web-2 unhealthy for 30 s): manor resume 20260920t221312-51aa0c, or manor abandon 20260920t221312-51aa0c",)
    return StatusPage(estate="acme-health", at=NOW, problems=problems, environments=ENVIRONMENTS, operations=OPERATIONS, runs=RUNS, receipts=RECEIPTS)
