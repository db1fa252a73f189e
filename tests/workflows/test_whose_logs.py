"""A tier or a service that is never to be touched has its logs neither read nor rotated; the others have."""

from __future__ import annotations

import pytest

from manor.errors import NotOurs
from manor.execution.base import Runner
from manor.execution.guard import Guard, Manage
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Completed, Effect
from manor.reconcile.site import Site
from manor.workflows import housekeeping
from manor.workflows.context import Context
from manor.workflows.housekeeping import rotate_host
from manor.workflows.logs import Wanted, find_sources, open_logs
from manor.workflows.probing import mark_of
from manor.workflows.tracing import search


class Deaf(LocalRunner):
    """Keeps the commands that the guard lets through; each log is too large."""

    def __init__(self, never: str) -> None:
        super().__init__("dev/all-1", Guard("dev/all-1", subjects={never: Manage.NEVER}))
        self.ran: list[Command] = []

    async def _run(self, command: Command) -> Completed:
        self.ran.append(command)
        return Completed(0, "\n".join(map(str, command.argv[4:])).encode() if command.argv[2] == housekeeping.TOO_LARGE else b"")


def with_runner(opened: Context, never: str) -> tuple[Site, Deaf]:
    """Return the site of dev, whose only host has one subject that is never to be touched."""
    site, runner = opened.site("dev"), Deaf(never)
    runners: dict[str, Runner] = {"all-1": runner}
    return Site(site.wiring, site.hosts, runners, site.store, site.state_id, site.lease), runner


async def test_a_service_that_is_never_touched_has_its_logs_left_alone(opened: Context) -> None:
    site, runner = with_runner(opened, "service/shop")
    said = await rotate_host(site.hosts["all-1"], runner)
    assert said
    assert not [line for line in said if "shop" in line]
    assert all(command.touch.effect is Effect.INCLUDE for command in runner.ran if command.argv[2] in {housekeeping.TOO_LARGE, housekeeping.COPY})


async def test_a_tier_that_is_never_touched_is_not_read(opened: Context) -> None:
    tier = opened.site("dev").hosts["all-1"].tiers[0]
    site, runner = with_runner(opened, tier.node.subject)
    assert await search(site, tier, "0123456789") == []
    assert await mark_of(runner, tier) is None
    assert not [line for line in await rotate_host(site.hosts["all-1"], runner) if str(tier.node.folders.access_log) in line]
    assert tier.node.subject not in {command.touch.subject for command in runner.ran}


async def test_logs_are_asked_for_in_the_name_of_who_writes_them(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = with_runner(opened, "service/shop")
    assert {source.subject for source in find_sources(site, Wanted("shop"))} == {"service/shop"}
    assert {source.subject for source in find_sources(site, Wanted(access=True))} == {tier.node.subject for tier in site.hosts["all-1"].tiers}
    monkeypatch.setattr(Context, "site", lambda *_: site)
    reader = open_logs(opened, ["dev"], Wanted("shop")).readers[0]
    with pytest.raises(NotOurs, match="service/shop"):
        await reader.last(1)
