"""A restart that is due is state: whoever is killed before it, the next apply restarts and does not only reload (docs/apply.md, pending restarts)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.errors import ApplyFailed
from manor.execution.values import Completed, FileAct, PutFile
from manor.reconcile import tiers
from manor.reconcile.apply import restarting_tiers
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.plan import Action
from tests.reconcile.many import EDGE, ManyToys, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore, Killed

HOST = "edge-1"
RESTART = [f"stop tier-{EDGE}", f"start tier-{EDGE}"]
RELOAD = ["reload"]


@pytest.fixture
def toys(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[ManyToys]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        made = ManyToys(wiring_of(tmp_path, 1, 1), store)
        made.restarts = {EDGE}
        yield made


async def took_over(toys: ManyToys) -> list[str]:
    """Apply, and return how the edge's process was told."""
    before = len(toys.runners[HOST].shown)
    raise_unless_applied(await toys.apply())
    told = [line.split(" > ")[0] for line in toys.runners[HOST].shown[before:] if " > " in line]
    return [line for line in told if line in (*RESTART, *RELOAD)]


async def killed_before_taking_over(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(*_: object) -> str:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tiers, "take_over", killed)
        with pytest.raises(Killed):
            await toys.apply()


async def actions(toys: ManyToys) -> list[Action]:
    return [change.action for change in (await toys.plan()).changes if change.what == EDGE]


async def test_a_restart_that_is_due_survives_a_kill(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"
    await killed_before_taking_over(toys, monkeypatch)
    assert await actions(toys) == [Action.RESTART]
    assert await took_over(toys) == RESTART
    assert (await toys.plan()).is_empty
    toys.restarts, toys.texts[EDGE] = set(), "newer"
    assert await took_over(toys) == RELOAD


async def test_it_is_not_lost_when_the_estate_turns_back(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows how far the one that was killed came."""
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"
    await killed_before_taking_over(toys, monkeypatch)
    toys.texts[EDGE] = "old"
    assert await took_over(toys) == RESTART
    assert (await toys.plan()).is_empty


@pytest.mark.parametrize("written", range(4))
async def test_it_is_known_before_the_first_file_is_written(toys: ManyToys, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"
    files, left = toys.runners[HOST].files, iter(range(written))
    etc, mark = toys.host(HOST).tiers[0].node.folders.etc, toys.host(HOST).layout.restart_due(EDGE)
    real = files.carry_out

    def killed(act: FileAct) -> None:
        if (act.path == mark or act.path.parent == etc) and next(left, None) is None:
            raise Killed
        real(act)

    with monkeypatch.context() as patch:
        patch.setattr(files, "carry_out", killed)
        try:
            await toys.apply()
        except Killed:
            assert files.read([mark]) or toys.text(HOST) == "old"
    raise_unless_applied(await toys.apply())
    assert (await toys.plan()).is_empty
    assert not files.read([mark])


async def test_a_tier_that_goes_back_is_restarted_with_its_old_files_and_nothing_is_due(toys: ManyToys) -> None:
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"
    toys.refuse(HOST)
    before = len(toys.runners[HOST].shown)
    with pytest.raises(ApplyFailed, match="the old ones are back and it runs with them"):
        raise_unless_applied(await toys.apply())
    told = [line.split(" > ")[0] for line in toys.runners[HOST].shown[before:]]
    assert [line for line in told if line in (*RESTART, *RELOAD)] == [*RESTART, *RESTART]
    toys.texts[EDGE] = "old"
    assert (await toys.plan()).is_empty


async def test_it_is_due_until_what_was_on_the_air_was_seen_on_it(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"

    async def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tiers, "require_serving", killed)
        with pytest.raises(Killed):
            await toys.apply()
    assert await actions(toys) == [Action.RESTART]
    assert await took_over(toys) == RESTART
    assert (await toys.plan()).is_empty


async def test_a_tier_that_goes_back_to_files_it_never_took_over_is_restarted(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old files of this apply are the new ones of the one that was killed."""
    raise_unless_applied(await toys.apply())
    toys.texts[EDGE] = "new"
    await killed_before_taking_over(toys, monkeypatch)
    toys.runners[HOST].reply("loaded", Completed(0, b"still works by the old files"), times=1000)
    before = len(toys.runners[HOST].shown)
    with pytest.raises(ApplyFailed):
        raise_unless_applied(await toys.apply())
    told = [line.split(" > ")[0] for line in toys.runners[HOST].shown[before:]]
    assert [line for line in told if line in (*RESTART, *RELOAD)] == [*RESTART, *RESTART]


async def test_hosts_with_a_due_restart_change_one_by_one(toys: ManyToys) -> None:
    raise_unless_applied(await toys.apply())
    mark = toys.host(HOST).layout.restart_due(EDGE)
    toys.runners[HOST].files.carry_out(PutFile(mark, b""))
    observed = await toys.observed()
    assert restarting_tiers(toys.site.hosts.values(), observed) == {(HOST, EDGE)}
