"""In which order an apply goes through many hosts, and what is left when it fails or is killed (docs/apply.md, the order)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from manor.errors import ApplyFailed, NotRestored
from manor.execution.values import Completed, PutFile
from manor.operations.chaos import Point
from manor.operations.step import Planned
from manor.reconcile.apply import batch_size, batches
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.site import Site
from manor.reconcile.tiers import ChangeTier, ConfirmTier
from manor.state.words import OperationState
from tests.reconcile.many import EDGE, WEB, ManyToys, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore, Killed

MakeToys = Callable[[int, int], ManyToys]


@pytest.fixture
def make(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[MakeToys]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        yield lambda edges, webs: ManyToys(wiring_of(tmp_path, edges, webs), store)


async def brought_up(make: MakeToys, edges: int, webs: int) -> ManyToys:
    """Return hosts that are as declared."""
    toys = make(edges, webs)
    raise_unless_applied(await toys.apply())
    return toys


def waves(steps: list[Planned[Site]], *kinds: str) -> list[str]:
    """Return the stages of some kinds of step, one line each: kind, tier, hosts."""
    lines = []
    for _, stage in groupby(steps, lambda planned: planned.stage):
        wave = [planned.step for planned in stage if planned.step.kind in kinds]
        for (kind, key), same in groupby(wave, lambda step: (step.kind, getattr(step, "key", ""))):
            lines.append(" ".join(filter(None, (kind, key, *(step.host for step in same)))))
    return lines


@pytest.mark.parametrize(
    ("running", "size"),
    [(0, 1), (1, 1), (3, 1), (7, 1), (8, 2), (11, 2), (12, 3), (50, 12), (99, 24), (100, 25), (104, 25), (500, 25)],
)
def test_a_batch_is_a_quarter_of_those_that_run_at_least_one_and_at_most_25(running: int, size: int) -> None:
    assert batch_size(running) == size


@pytest.mark.parametrize(
    ("names", "alone", "size", "expected"),
    [
        ("",       "",       2, ""),
        ("a",      "",       2, "a"),
        ("abc",    "",       1, "a b c"),
        ("abcdef", "",       2, "a bc de f"),
        ("abcdef", "",       9, "a bcdef"),
        ("abcdef", "abcdef", 9, "a b c d e f"),
        ("abcdef", "be",     2, "a cd f b e"),
        ("ab",     "a",      2, "b a"),
    ],
)  # fmt: skip
def test_the_first_goes_alone_then_batches_then_one_by_one_what_restarts(names: str, alone: str, size: int, expected: str) -> None:
    assert " ".join("".join(batch) for batch in batches(list(names), set(alone), size)) == expected


async def test_running_tiers_change_innermost_first_one_host_then_batches(make: MakeToys) -> None:
    toys = await brought_up(make, 2, 9)
    toys.texts = {EDGE: "new", WEB: "new"}
    assert waves(await toys.steps(), "change") == [
        "change 1-web-nginx web-01",
        "change 1-web-nginx web-02 web-03",
        "change 1-web-nginx web-04 web-05",
        "change 1-web-nginx web-06 web-07",
        "change 1-web-nginx web-08 web-09",
        "change 0-balancer-haproxy edge-1",
        "change 0-balancer-haproxy edge-2",
    ]


async def test_five_hundred_hosts_take_21_stages(make: MakeToys) -> None:
    toys = make(1, 500)
    sizes = [len(line.split()) - 2 for line in waves(await toys.steps(), "change")]
    assert sizes == [1, *[25] * 19, 24, 1]


async def test_the_first_is_a_host_on_which_something_changes(make: MakeToys) -> None:
    """One whose tier is as declared already would prove nothing."""
    toys = await brought_up(make, 1, 9)
    toys.texts[WEB] = "new"
    tier = toys.host("web-01").tiers[0]
    toys.runners["web-01"].files.carry_out(PutFile(tier.files[0].path, b"new"))
    toys.runners["web-01"].files.carry_out(PutFile(toys.host("web-01").layout.loaded(WEB), tier.digest.encode()))
    toys.runners["web-01"].files.carry_out(PutFile(toys.host("web-01").layout.pages / "old.html", b""))
    assert waves(await toys.steps(), "change")[:2] == ["change 1-web-nginx web-02", "change 1-web-nginx web-03 web-04"]


async def test_tiers_that_do_not_run_are_written_all_at_once(make: MakeToys) -> None:
    toys = make(2, 9)
    assert len({planned.stage for planned in await toys.steps(running=False) if isinstance(planned.step, ChangeTier)}) == 1


async def test_what_has_to_be_restarted_changes_one_by_one(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 9)
    toys.restarts, toys.texts[WEB] = {WEB}, "new"
    assert waves(await toys.steps(), "change") == [f"change 1-web-nginx web-0{n}" for n in range(1, 10)]


async def test_a_new_definition_of_a_running_tier_is_taken_over_host_by_host(make: MakeToys) -> None:
    """The supervisor starts such a tier again, and its connections are lost."""
    toys = await brought_up(make, 1, 3)
    toys.argv = "toy -v"
    assert waves(await toys.steps(), "supervise", "verify") == [
        "supervise edge-1",
        "verify 0-balancer-haproxy edge-1",
        "supervise web-01",
        "verify 1-web-nginx web-01",
        "supervise web-02",
        "verify 1-web-nginx web-02",
        "supervise web-03",
        "verify 1-web-nginx web-03",
    ]


async def test_supervisors_whose_tiers_go_on_take_over_all_at_once(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 3)
    toys.texts = {EDGE: "new", WEB: "new"}
    assert waves(await toys.steps(), "supervise", "verify") == ["supervise edge-1 web-01 web-02 web-03"]


async def test_every_host_gets_its_new_files(make: MakeToys) -> None:
    toys = await brought_up(make, 2, 9)
    toys.texts = {EDGE: "new", WEB: "new"}
    raise_unless_applied(await toys.apply())
    assert {toys.text(name) for name in toys.runners} == {"new"}
    assert (await toys.plan()).is_empty


async def test_a_failure_in_a_batch_puts_that_host_back_and_begins_no_other_batch(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 9)
    toys.texts = {EDGE: "new", WEB: "new"}
    toys.refuse("web-04")
    result = await toys.apply()
    with pytest.raises(ApplyFailed, match="web-04: 1-web-nginx did not work with its new files"):
        raise_unless_applied(result)
    texts = {name: toys.text(name) for name in toys.runners}
    assert texts["web-04"] == "old"
    assert {name for name, text in texts.items() if text == "new"} in ({"web-01", "web-02", "web-03"}, {"web-01", "web-02", "web-03", "web-05"})
    begun = {step.host for step in result.steps if step.kind == ChangeTier.kind and step.intent_at is not None}
    assert {step.host for step in result.steps if step.kind == ConfirmTier.kind and step.plan == 1} == begun
    assert begun <= {"web-01", "web-02", "web-03", "web-04", "web-05"}


async def test_the_first_host_alone_meets_what_would_fail_on_all(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 9)
    toys.texts[WEB] = "new"
    for name in toys.runners:
        toys.refuse(name)
    before = {name: len(runner.acts) for name, runner in toys.runners.items()}
    with pytest.raises(ApplyFailed):
        raise_unless_applied(await toys.apply())
    assert {toys.text(name) for name in toys.runners} == {"old"}
    reloaded = {name for name, runner in toys.runners.items() if any("reload" in act for act in runner.shown[before[name] :])}
    assert reloaded == {"web-01"}


async def test_a_host_of_a_batch_that_works_with_neither_is_told_with_code_6(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 9)
    toys.texts[WEB] = "new"
    toys.lose("web-05")
    with pytest.raises(NotRestored, match="web-05: 1-web-nginx failed"):
        raise_unless_applied(await toys.apply())
    assert {toys.text(f"web-0{n}") for n in range(6, 10)} == {"old"}


async def test_each_balancer_of_a_batch_keeps_the_traffic_that_it_has(make: MakeToys) -> None:
    """State files are written from each one's own process: what a person took out at one of them stays out there, and only there."""
    toys = await brought_up(make, 9, 2)
    toys.texts[EDGE] = "new"
    toys.runners["edge-2"].reply("servers", Completed(0, b'{"web-01-a": "drain"}'))
    toys.runners["edge-3"].reply("servers", Completed(0, b'{"web-01-a": "ready"}'))
    assert "change 0-balancer-haproxy edge-2 edge-3" in waves(await toys.steps(), "change")
    raise_unless_applied(await toys.apply())
    said = {}
    for name in ("edge-2", "edge-3"):
        path = toys.host(name).tiers[0].node.folders.state / "echo"
        said[name] = toys.runners[name].files.read([path])[path].decode()
    assert "'web-01-a', <TrafficState.DRAIN" in said["edge-2"]
    assert "'web-01-a', <TrafficState.READY" in said["edge-3"]
    for name in said:
        acts = toys.runners[name].shown
        assert max(n for n, act in enumerate(acts) if "state/0-balancer-haproxy/echo" in act) < max(n for n, act in enumerate(acts) if act.startswith("reload"))


class KillAt:
    """Kills at the n-th boundary of a change; 0 only counts."""

    def __init__(self, n: int = 0) -> None:
        self.n, self.passed, self.is_dead = n, 0, False

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        if self.is_dead:
            raise Killed
        self.passed += kind in (ChangeTier.kind, ConfirmTier.kind)
        if self.n and self.passed == self.n:
            self.is_dead = True
            raise Killed


BATCHED = [["web-01"], ["web-02", "web-03"], ["web-04", "web-05"], ["web-06", "web-07"], ["web-08"], ["edge-1"]]
BOUNDARIES = 4 * 9
"""Of the changes of one edge and eight web tiers."""


FAILING_BOUNDARIES = 39
"""At the most of one in which the fourth host fails."""


SAMPLED = 13
"""The default run kills at one moment of so many."""


def some(count: int) -> list[Any]:
    """Return the moments to kill at; the default run tries one of so many, `thorough` the others too."""
    return [pytest.param(n, marks=[] if n % SAMPLED == 1 else [pytest.mark.thorough]) for n in range(1, count + 1)]


def require_in_order(toys: ManyToys) -> None:
    """Require that a batch was begun only when all before it worked by their new files."""
    begun = [any(toys.text(name) == "new" for name in batch) for batch in BATCHED]
    for place in (place for place, is_begun in enumerate(begun) if is_begun):
        assert all(toys.works_by_new(name) for batch in BATCHED[:place] for name in batch)


@pytest.mark.parametrize("n", some(BOUNDARIES))
async def test_killed_at_any_boundary_another_goes_on_batch_by_batch(make: MakeToys, n: int) -> None:
    toys = await brought_up(make, 1, 8)
    toys.texts = {EDGE: "new", WEB: "new"}
    operation = await toys.begin()
    with pytest.raises(Killed):
        await toys.go_on(operation, KillAt(n))
    require_in_order(toys)
    raise_unless_applied(await toys.go_on(operation))
    assert {toys.text(name) for name in toys.runners} == {"new"}
    assert all(toys.works_by_new(name) for name in toys.runners)


async def test_the_boundaries_are_as_many_as_are_killed_at(make: MakeToys) -> None:
    toys = await brought_up(make, 1, 8)
    toys.texts = {EDGE: "new", WEB: "new"}
    counting = KillAt()
    await toys.go_on(await toys.begin(), counting)
    assert counting.passed == BOUNDARIES


@pytest.mark.parametrize("n", some(FAILING_BOUNDARIES))
async def test_killed_in_an_apply_that_fails_another_brings_it_to_the_same_end(make: MakeToys, n: int) -> None:
    toys = await brought_up(make, 1, 8)
    toys.texts = {EDGE: "new", WEB: "new"}
    toys.refuse("web-04")
    operation, killer = await toys.begin(), KillAt(n)
    try:
        await toys.go_on(operation, killer)
    except Killed:
        require_in_order(toys)
    else:
        assert not killer.is_dead
        return
    result = await toys.go_on(operation)
    assert result.operation.state is OperationState.REVERTED
    assert {name: toys.text(name) for name in ("web-01", "web-02", "web-03", "web-04")} == {"web-01": "new", "web-02": "new", "web-03": "new", "web-04": "old"}
    assert {toys.text(name) for name in ("web-06", "web-07", "web-08", "edge-1")} == {"old"}
    assert toys.text("web-05") == ("new" if toys.works_by_new("web-05") else "old")
