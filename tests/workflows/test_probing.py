"""A rollout's probe asks at every front door behind which the service is (docs/receipt.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.workflows.context import Context, open_context
from manor.workflows.probing import NEVER_BEGAN, NO_PATH, NO_ROUTE, LocalProber

ESTATE = """\
estate: doors
services:
  shop:
    run: {{command: "shop {{address}}:{{port}}", port: 8100}}
    health: {{http: /healthz}}
    routes: [{{host: shop}}]
    place: {{on: {on}}}
    probe: [{{path: /asked, rate: 24}}]
traffic: {{chain: [{chain}]}}
environments:
  prod:
    hosts:
      edge-1: {{groups: [edge]}}
      edge-2: {{groups: [edge]}}
      web-1: {{groups: [web]}}
      web-2: {{groups: [web, own]}}
      web-3: {{groups: [web, own]}}
"""
BALANCED, ALONE = "{balancer: haproxy}, {web: nginx}", "{web: nginx}"
BEFORE_ANOTHER = "{balancer: haproxy}, {balancer: haproxy, on: web}, {web: nginx}"


def doors(context: Context) -> list[tuple[str, float]]:
    """Return the host of each door that is asked, and how often a second; `front` is what the machine itself offers."""
    config = LocalProber(context, "prod", "shop").config("op")
    assert config
    hosts = {place.address: name for name, place in context.wiring("prod").addressing.hosts.items()}
    assert len({target.name for target in config.targets}) == len(config.targets), "a loss says at which door"
    return [(hosts.get(target.address, "front"), target.rate) for target in config.targets]


@pytest.mark.parametrize(
    ("chain", "on", "expected"),
    [
        (BALANCED, "web", [("front", 12.0), ("edge-2", 12.0)]),
        (ALONE, "web", [("front", 8.0), ("web-2", 8.0), ("web-3", 8.0)]),
        (ALONE, "own", [("web-2", 12.0), ("web-3", 12.0)]),
    ],
    ids=["two balancers", "each its own", "not behind the first"],
)
def test_every_door_is_asked(alone: Path, chain: str, on: str, expected: list[tuple[str, float]]) -> None:
    (alone / "estate.yaml").write_text(ESTATE.format(chain=chain, on=on))
    with open_context(alone / "estate.yaml") as context:
        assert doors(context) == expected


def test_a_door_that_is_never_to_be_touched_is_not_asked(alone: Path) -> None:
    text = ESTATE.format(chain=BEFORE_ANOTHER, on="web").replace("edge-2: {groups: [edge]}", "edge-2: {groups: [edge], manage: never}")
    assert "never" in text
    (alone / "estate.yaml").write_text(text)
    with open_context(alone / "estate.yaml") as context:
        assert doors(context) == [("front", 24.0)]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("", "", ""),
        ("    routes: [{host: shop}]\n", "", NO_ROUTE),
        ("    probe: [{path: /asked, rate: 24}]\n", "", ""),
        ("    routes: [{host: shop}]\n    place: {on: web}\n    probe: [{path: /asked, rate: 24}]\n", "    routes: [{host: shop, path: /own}]\n", NO_PATH),
    ],
    ids=["asked", "no route", "by default the health path", "no way to it"],
)
async def test_what_is_not_asked_has_its_reason_and_the_receipt_has_it(alone: Path, old: str, new: str, why: str) -> None:
    text = ESTATE.format(chain=BALANCED, on="web")
    assert old in text
    (alone / "estate.yaml").write_text(text.replace(old, new) if old else text)
    with open_context(alone / "estate.yaml") as context:
        prober = LocalProber(context, "prod", "shop")
        assert prober.why_not() == why
        assert (prober.config("op") is None) == bool(why)
        assert (await prober.column("op", 9.0)).incomplete == (NEVER_BEGAN,)
