"""What an apply does to a host, step by step, and how it ends (docs/apply.md)."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from dataclasses import replace

import pytest

from manor.errors import ApplyFailed, FencedOff, NotOurs, NotRestored, Refused, Unreachable
from manor.execution.guard import Untouchable
from manor.execution.values import Completed, FileAct, HostPath, PutFile
from manor.operations.engine import execute
from manor.operations.planning import Result, create
from manor.operations.step import Here, Step, StepKinds
from manor.reconcile.apply import LiveTiers, apply_steps
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.site import POLL_SECONDS, Site, fence
from manor.reconcile.steps import KINDS, FenceHost, PrepareHost
from manor.reconcile.supervising import RESTART_SECONDS, CheckSupervisor, Supervise, end_program
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier
from manor.state.operations import NewOperation
from manor.workflows.applying import confirming_changes
from tests.operations.model import take
from tests.reconcile.toys import ROOT, Toy

STEPS = StepKinds[Site](KINDS)
PIDS = itertools.count(1)


async def apply(toy: Toy, *, is_running: bool = True) -> Result:
    """Plan and carry out."""
    running = [("web-1", toy.key)] if is_running else []
    steps = apply_steps(await toy.plan(), {"web-1": toy.host}, LiveTiers(frozenset(running)))
    operation = await create(toy.store, NewOperation("apply", "prod"), steps, STEPS)
    lease = take(toy.store, "prod", operation.id, next(PIDS))
    return await execute(toy.store, operation.id, toy.site, STEPS, lease, on_failure=confirming_changes(toy.store))


async def applied(toy: Toy, text: str = "old") -> None:
    """Have the host as declared, its tier running."""
    toy.text = text
    toy.runs()
    raise_unless_applied(await apply(toy))
    assert toy.config == text.encode()


async def test_nothing_to_do_after_an_apply(toy: Toy) -> None:
    await applied(toy)
    assert (await toy.plan()).is_empty


async def test_a_changed_file_is_checked_written_reloaded_verified_and_noted(toy: Toy) -> None:
    await applied(toy)
    before = len(toy.runner.acts)
    await applied(toy, "new")
    acts = " ".join(toy.runner.shown[before:])
    places = [acts.index(part) for part in ("toy check", "etc/0-web-nginx/toy.conf", "reload", "ready", "0-web-nginx.loaded")]
    assert places == sorted(places)
    assert toy.loaded == toy.host.tiers[0].digest


async def test_a_checker_that_refuses_leaves_everything_as_it_was(toy: Toy) -> None:
    await applied(toy)
    toy.text = "bad"
    toy.runner.reply("toy check", Completed(1, b"line 1: what is bad?"))
    result = await apply(toy)
    with pytest.raises(Refused, match=r"refused: line 1: what is bad\?; no tier was changed") as refused:
        raise_unless_applied(result)
    assert refused.value.exit_code == 4
    assert toy.config == b"old"


async def test_a_tier_that_fails_with_its_new_files_gets_exactly_the_old_ones_back(toy: Toy) -> None:
    await applied(toy)
    toy.text = "new"
    toy.runner.reply("loaded", Completed(0, b"still works by the old files"))
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match="the old ones are back and it runs with them") as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 5
    assert toy.config == b"old"
    assert toy.loaded != toy.host.tiers[0].digest


MESSAGE = (
    "web-1: 0-web-nginx failed (0-web-nginx did not answer within 20 s: broken) and does not work with its old files either "
    "(0-web-nginx did not answer within 20 s: broken); the new files are in /srv/manor/web-1/etc/0-web-nginx, "
    "the old ones in /srv/manor/web-1/ops/*/before/0-web-nginx; see /srv/manor/web-1/README.md for the commands"
)


async def test_a_tier_that_works_with_neither_is_said_so(toy: Toy) -> None:
    await applied(toy)
    toy.text = "new"
    toy.runner.reply("ready", Completed(0, b"broken"))
    result = await apply(toy)
    with pytest.raises(NotRestored) as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 6
    assert str(failed.value).splitlines()[0] == MESSAGE


@pytest.mark.parametrize("written", range(6))
async def test_old_files_are_put_back_wholly_whenever_their_keeping_was_killed(toy: Toy, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """Killed after any number of its acts, the step is done again; what it then puts back is all that was there."""
    await applied(toy)
    etc = toy.host.tiers[0].node.folders.etc
    for name in ("a.conf", "b.conf"):
        toy.runner.files.carry_out(PutFile(etc / name, name.encode()))
    toy.text = "new"
    toy.runner.reply("loaded", Completed(0, b"still works by the old files"))
    steps = apply_steps(await toy.plan(), {"web-1": toy.host}, LiveTiers(frozenset()))
    step = next(planned.step for planned in steps if isinstance(planned.step, ChangeTier))
    here = Here("op", 1, "key", 1, 1, 1e12, lambda text: None)
    kept, real, left = toy.host.layout.operation("op"), toy.runner.files.carry_out, iter(range(written))

    def killed(act: FileAct) -> None:
        if kept in act.path.parents and next(left, None) is None:
            raise KeyboardInterrupt
        real(act)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(toy.runner.files, "carry_out", killed)
        await step.act(toy.site, here)
    with pytest.raises(ApplyFailed, match="the old ones are back"):
        await step.act(toy.site, here)
    assert toy.runner.files.read([etc / "toy.conf", etc / "a.conf", etc / "b.conf"]) == {
        etc / "toy.conf": b"old",
        etc / "a.conf": b"a.conf",
        etc / "b.conf": b"b.conf",
    }


async def test_strays_are_removed(toy: Toy) -> None:
    await applied(toy)
    folders = (toy.host.tiers[0].node.folders.etc, toy.host.layout.pages, toy.host.layout.supervisor)
    toy.runner.files.carry_out(PutFile(folders[0] / "forgotten.conf", b""))
    toy.runner.files.carry_out(PutFile(folders[1] / "old.html", b""))
    toy.runner.files.carry_out(PutFile(folders[2] / "old.conf", b""))
    assert {change.what.rsplit("/", 1)[-1] for change in (await toy.plan()).changes} == {"forgotten.conf", "old.html", "old.conf"}
    raise_unless_applied(await apply(toy))
    assert (await toy.plan()).is_empty


async def test_an_unreachable_host_is_told_as_such(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.runs()
    steps = apply_steps(await toy.plan(), {"web-1": toy.host}, LiveTiers(frozenset()))

    async def gone(_: object) -> dict[HostPath, bytes]:
        raise Unreachable("prod/web-1 does not answer")

    monkeypatch.setattr(toy.runner, "_read", gone)
    operation = await create(toy.store, NewOperation("apply", "prod"), steps, STEPS)
    result = await execute(toy.store, operation.id, toy.site, STEPS, take(toy.store, "prod", operation.id, next(PIDS)))
    with pytest.raises(Unreachable, match="prod/web-1 does not answer"):
        raise_unless_applied(result)


async def test_a_host_refuses_an_older_token_and_another_state_folder(toy: Toy) -> None:
    await fence(toy.host, toy.runner, "state-1", "prod", 7)
    with pytest.raises(FencedOff, match="token 6 for prod/echo is older than 7 for prod"):
        await fence(toy.host, toy.runner, "state-1", "prod/echo", 6)
    with pytest.raises(Refused, match="another Manor \\(state-1\\) has charge of this host"):
        await fence(toy.host, toy.runner, "state-2", "prod", 8)


async def test_who_was_succeeded_while_it_waited_puts_no_old_files_back(toy: Toy) -> None:
    """It is stopped while it waits for the tier; when it wakes up and gives up, the files are another's."""
    await applied(toy)
    toy.text = "new"

    def another_takes_over(_: object) -> Completed:
        toy.runner.files.carry_out(PutFile(toy.host.layout.token("prod"), b"100\n"))
        return Completed(0, b"still works by the old files")

    toy.runner.reply("loaded", another_takes_over)
    with pytest.raises(FencedOff, match="token 99 for prod is older than 100"):
        await ChangeTier("web-1", toy.key).act(toy.site, here())
    assert toy.config == b"new"


async def test_a_host_is_asked_by_one_listing_and_one_read_and_told_nothing_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    await toy.site.fence("web-1", 7)
    before, looks, runner = len(toy.runner.acts), list[str](), toy.runner

    def noted(name: str) -> None:
        real = getattr(runner, name)

        def noting(what: object) -> object:
            looks.append(name)
            return real(what)

        monkeypatch.setattr(runner, name, noting)

    noted("_read")
    noted("_listings")
    await toy.site.fence("web-1", 7)
    assert (looks, len(toy.runner.acts)) == (["_listings", "_read"], before)


def here() -> Here:
    return Here("op", 1, "op/1", 99, 1, 2_000_000.0, lambda text: None)


def steps_of(toy: Toy) -> dict[str, Step[Site]]:
    """Return a step of every kind that an apply has."""
    key = toy.key
    made: list[Step[Site]] = [
        FenceHost("web-1"),
        PrepareHost("web-1"),
        CheckTier("web-1", key),
        CheckSupervisor("web-1"),
        ChangeTier("web-1", key),
        Supervise("web-1"),
        VerifyTier("web-1", key),
        ConfirmTier("web-1", key),
        TellTier("web-1", key),
    ]
    return {step.kind: step for step in made}


@pytest.mark.parametrize("kind", sorted(kind.kind for kind in KINDS))
async def test_no_kind_of_step_touches_what_is_not_ours(toy: Toy, kind: str) -> None:
    await applied(toy)
    toy.text = "new"
    toy.runner.guard = replace(toy.runner.guard, untouchable=Untouchable(paths=(ROOT,)))
    before = len(toy.runner.acts)
    with pytest.raises(NotOurs, match=r"untouchable.paths: /srv/manor/web-1 is not Manor's to touch"):
        await steps_of(toy)[kind].act(toy.site, here())
    assert toy.runner.acts[before:] == []


async def test_a_program_that_fails_and_is_started_again_is_told_until_it_stays_stopped(toy: Toy) -> None:
    told = iter(["failed", "failed", "starting", "running", "stopped"])
    toy.runner.reply("status", lambda _: Completed(0, json.dumps({"echo-a": next(told)}).encode()))
    await end_program(toy.host, toy.runner, "echo-a", 5.0, toy.store.clock)
    assert sum(act.startswith("stop echo-a") for act in toy.runner.shown) == 3
    assert "--end" in toy.runner.shown[-1]


async def test_a_program_that_was_given_up_counts_as_stopped(toy: Toy) -> None:
    toy.runner.reply("status", Completed(0, b'{"echo-a": "failed"}'))
    before = toy.store.clock.now()
    await end_program(toy.host, toy.runner, "echo-a", 5.0, toy.store.clock)
    assert RESTART_SECONDS <= toy.store.clock.now() - before < RESTART_SECONDS + 1


async def test_between_two_stops_of_a_program_that_runs_on_there_is_a_pause(toy: Toy) -> None:
    looks = itertools.count()

    def runs_on(_: object) -> Completed:
        assert next(looks) < 10_000, "nothing is waited for"
        return Completed(0, b'{"echo-a": "running"}')

    toy.runner.reply("status", runs_on)
    before = toy.store.clock.now()
    await end_program(toy.host, toy.runner, "echo-a", 5.0, toy.store.clock)
    waited = toy.store.clock.now() - before
    assert waited >= 5.0
    assert sum(act.startswith("stop echo-a") for act in toy.runner.shown) <= waited / POLL_SECONDS + 2
