"""What a plan shows, and what its hash covers (docs/apply.md, the hash)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from manor.errors import NotOurs, UsageError
from manor.execution.guard import Untouchable
from manor.execution.values import Completed, HostPath, PutFile
from manor.reconcile.plan import Action
from manor.workflows.applying import require_allowed
from tests.reconcile.test_apply import applied
from tests.reconcile.toys import ROOT, Toy


async def test_the_hash_is_stable_and_health_is_not_in_it(toy: Toy) -> None:
    await applied(toy)
    first = await toy.plan()
    toy.runner.reply("status", Completed(0, json.dumps({program.name: "failed" for program in toy.host.supervised.programs}).encode()))
    assert (await toy.plan()).hash == first.hash


async def test_the_hash_covers_declaration_files_versions_slots_and_definitions(toy: Toy) -> None:
    await applied(toy)
    other_slots = {"echo@web-1#1/a": "r ready"}
    hashes = [
        (await toy.plan()).hash,
        (await toy.plan("d2")).hash,
        (await toy.plan(versions={"toy": "2"})).hash,
        (await toy.plan(slots=other_slots)).hash,
    ]
    toy.text = "new"
    hashes.append((await toy.plan()).hash)
    toy.text = "old"
    toy.runner.files.carry_out(PutFile(toy.host.tiers[0].files[0].path, b"edited by hand"))
    hashes.append((await toy.plan()).hash)
    toy.runner.files.carry_out(PutFile(toy.host.tiers[0].files[0].path, b"old"))
    toy.runner.files.carry_out(PutFile(toy.host.layout.loaded("supervisor"), b'{"echo-a": "another definition"}'))
    hashes.append((await toy.plan()).hash)
    assert len(set(hashes)) == len(hashes)


async def test_a_definition_that_was_not_taken_over_is_a_change(toy: Toy) -> None:
    await applied(toy)
    path = toy.host.layout.loaded("supervisor")
    taken = json.loads(toy.runner.files.read([path])[path])
    toy.runner.files.carry_out(PutFile(path, json.dumps(taken | {"echo-a": "another"}).encode()))
    assert [(change.action, change.what) for change in (await toy.plan()).changes] == [(Action.UPDATE, "echo-a")]


async def test_a_pending_reload_is_a_change(toy: Toy) -> None:
    await applied(toy)
    toy.runner.files.carry_out(PutFile(toy.host.layout.loaded(toy.key), b"what it had before"))
    assert [(change.action, change.what) for change in (await toy.plan()).changes] == [(Action.RELOAD, toy.key)]


async def test_what_may_not_be_looked_at_is_told_with_its_rule(toy: Toy) -> None:
    await applied(toy)
    toy.runner.guard = replace(toy.runner.guard, untouchable=Untouchable(paths=(ROOT / "etc",)))
    with pytest.raises(NotOurs, match=rf"^prod/web-1: untouchable.paths: {ROOT}/etc is not Manor's to touch"):
        await toy.plan()


async def test_a_host_whose_files_do_not_answer_is_unreachable_and_voids_no_plan(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: object) -> dict[HostPath, bytes]:
        await asyncio.Event().wait()
        return {}

    await applied(toy)
    monkeypatch.setattr(toy.runner, "_read", hang)
    toy.runner.read_seconds = 0.0
    plan = await toy.plan()
    assert (plan.changes, [host for host, _ in plan.unreachable]) == ((), ["web-1"])
    assert "prod/web-1: read /srv/manor/web-1/" in plan.unreachable[0][1]
    assert "no answer within 0 s" in plan.unreachable[0][1]


async def test_what_vanishes_must_be_declared_and_allowed(toy: Toy) -> None:
    await applied(toy)
    toy.runs("crm-a", "crm-b")
    plan = await toy.plan()
    assert [(change.action, change.what, change.is_destructive) for change in plan.changes] == [(Action.STOP, "crm-a", True), (Action.STOP, "crm-b", True)]
    with pytest.raises(UsageError, match=r"crm would vanish from prod; say since when: `removed: {crm: <date>}`"):
        require_allowed(plan, (), allow_destroy=True)
    with pytest.raises(UsageError, match=r"web-1: stop crm-a; web-1: stop crm-b. If that is meant, add --allow-destroy"):
        require_allowed(plan, ("crm",), allow_destroy=False)
    require_allowed(plan, ("crm",), allow_destroy=True)
    assert replace(plan, changes=()).is_empty
