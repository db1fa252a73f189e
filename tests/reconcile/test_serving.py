"""What was on the air before an apply is on the air after it, else the old files are back (docs/apply.md, on the air)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, FencedOff, NotRestored, Unreachable
from manor.estate.topology import ServiceView, TierNode
from manor.execution.values import Act, Completed, PutFile
from manor.integrations.proxies.base import ServerView
from manor.operations.planning import Result
from manor.operations.step import Here
from manor.reconcile import tiers
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.serving import Served, concerned, notice_seconds, patience_seconds, require_foreseen
from manor.reconcile.tiers import ChangeTier
from tests.reconcile.many import EDGE, WEB, ManyToys
from tests.reconcile.many import wiring_of as many_wiring
from tests.reconcile.test_apply import applied, apply
from tests.reconcile.toys import Toy, ToyProxy

A, B = "web-1-a", "web-1-b"
ADVICE = "ship a release that answers both paths first, then change health, then apply"


def here(say: Callable[[str], None] = lambda text: None) -> Here:
    """Where a step is carried out."""
    return Here("op", 1, "key", 1, 1, 1e12, say)


def silent(_text: str) -> None:
    """Hear nothing."""


def answers(toy: Toy, code: int, port: int = 18300) -> None:
    """Have a server answer its health check like this."""
    toy.runner.reply(f":{port}/healthz", Completed(code))


def fails_by_the_new_files(toy: Toy) -> None:
    """Have a server answer 404 once its tier has the new files."""
    toy.runner.reply(":18300/healthz", lambda _act: Completed(200 if toy.config == b"old" else 404))


async def serving(toy: Toy, *servers: str) -> None:
    """Have the host as declared, and these servers serve."""
    await applied(toy)
    toy.traffic |= dict.fromkeys(servers, "ready")
    toy.text = "new"


async def test_a_tier_is_not_changed_where_that_would_take_a_service_off_the_air(toy: Toy) -> None:
    await serving(toy, A)
    answers(toy, 404)
    before = len(toy.runner.acts)
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match=f"web-1: {toy.key} was not changed: it would take echo off the air") as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 5
    assert not any(act.startswith("reload") for act in toy.runner.shown[before:])
    assert toy.config == b"old"
    assert not (await toy.plan()).is_empty


async def test_a_service_that_the_new_files_took_off_the_air_is_on_it_again_by_the_old_ones(toy: Toy) -> None:
    await serving(toy, A)
    fails_by_the_new_files(toy)
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match="the old ones are back and it runs with them") as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 5
    assert f"it would take echo off the air at web-1 {toy.key}: web-1-a: /healthz answers 404, not 200; if `health` has changed: {ADVICE}" in str(failed.value)
    assert toy.config == b"old"
    assert toy.loaded != toy.host.tiers[0].digest
    assert not (await toy.plan()).is_empty


async def test_a_program_that_does_not_listen_is_told_as_in_a_rollout(toy: Toy) -> None:
    await serving(toy, A)
    answers(toy, 502)
    toy.runner.reply("connect to 10.0.0.1:8300", Unreachable("refused"))
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match="web-1-a: not listening yet on port 8300"):
        raise_unless_applied(result)


async def test_what_was_put_back_is_taken_over_anew_by_the_next_apply(toy: Toy) -> None:
    await serving(toy, A)
    fails_by_the_new_files(toy)
    await apply(toy)
    answers(toy, 200)
    raise_unless_applied(await apply(toy))
    assert toy.config == b"new"
    assert toy.loaded == toy.host.tiers[0].digest


async def test_a_tier_of_which_nothing_changes_is_not_asked_for(toy: Toy) -> None:
    await serving(toy, A)
    toy.text = "old"
    answers(toy, 404)
    toy.runner.files.carry_out(PutFile(toy.host.layout.pages / "404.html", b"of somebody"))
    assert not (await toy.plan()).is_empty
    raise_unless_applied(await apply(toy))


async def test_what_a_web_tier_answers_by_its_new_files_is_not_asked_for_before(tmp_path: Path, toy: Toy) -> None:
    many = ManyToys(many_wiring(tmp_path, 1, 1), toy.store)
    site, served = many.site, (Served("edge-1", EDGE, "echo", ("web-01-a",)),)
    many.runners["web-01"].reply("/healthz", Completed(404))
    await require_foreseen(site, site.tier("web-01", WEB).node, served, silent)
    with pytest.raises(ApplyFailed, match="it would take echo off the air at edge-1"):
        await require_foreseen(site, site.tier("edge-1", EDGE).node, served, silent)


@pytest.mark.parametrize("traffic", [{}, {A: "drain"}, {A: "maint", B: "maint"}], ids=str)
async def test_what_was_not_on_the_air_is_not_waited_for(toy: Toy, traffic: dict[str, str]) -> None:
    await serving(toy)
    toy.traffic |= traffic
    answers(toy, 404)
    raise_unless_applied(await apply(toy))
    assert toy.config == b"new"


def needs_share(toy: Toy, share: float) -> None:
    """Have the service be declared with this share of its instances healthy at any moment."""
    services = toy.wiring.environment.services
    echo = services["echo"]
    changed = echo.model_copy(update={"rollout": echo.rollout.model_copy(update={"min_healthy": share})})
    services["echo"] = changed


async def test_fewer_servers_than_before_are_told_before_and_after_and_no_failure_while_enough_are_left(toy: Toy) -> None:
    await serving(toy, A, B)
    needs_share(toy, 0.5)
    answers(toy, 503, port=18301)
    told: list[str] = []
    await ChangeTier("web-1", toy.key).act(toy.site, here(told.append))
    assert told == [f"warning: echo has 1 of 2 servers left at web-1 {toy.key}: web-1-b: /healthz answers 503, not 200"] * 2
    assert toy.config == b"new"


async def test_a_change_that_leaves_too_few_servers_is_refused_before_it_is_made(toy: Toy) -> None:
    await serving(toy, A, B)
    answers(toy, 503, port=18301)
    result = await apply(toy)
    told = rf"it would leave echo 1 of 2 servers at web-1 {toy.key}, 2 are needed \(min_healthy\): web-1-b: /healthz answers 503, not 200; if `health` has"
    with pytest.raises(ApplyFailed, match=f"{toy.key} was not changed: {told}") as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 5
    assert toy.config == b"old"


async def test_too_few_servers_by_the_new_files_bring_the_old_ones_back(toy: Toy) -> None:
    await serving(toy, A, B)
    toy.runner.reply(":18301/healthz", lambda _act: Completed(200 if toy.config == b"old" else 404))
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match="it would leave echo 1 of 2 servers") as failed:
        raise_unless_applied(result)
    assert "the old ones are back and it runs with them" in str(failed.value)
    assert (failed.value.exit_code, toy.config) == (5, b"old")


@pytest.mark.parametrize(("answering", "is_refused"), [(1, True), (7, True), (8, False)])
async def test_only_the_canary_of_ten_knows_the_new_path(tmp_path: Path, toy: Toy, answering: int, is_refused: bool) -> None:
    many = ManyToys(many_wiring(tmp_path, 1, 10), toy.store)
    names = [f"web-{number:02d}" for number in range(1, 11)]
    for name in names[answering:]:
        many.runners[name].reply("/healthz", Completed(404))
    served, told = (Served("edge-1", EDGE, "echo", tuple(f"{name}-a" for name in names)),), list[str]()
    refused = pytest.raises(ApplyFailed, match=f"it would leave echo {answering} of 10 servers at edge-1 {EDGE}, 8 are needed")
    with refused if is_refused else nullcontext():
        await require_foreseen(many.site, many.site.tier("edge-1", EDGE).node, served, told.append)
    assert [text.startswith("warning: echo has 8 of 10 servers left") for text in told] == ([] if is_refused else [True])


async def test_a_service_has_the_time_of_its_checks(toy: Toy) -> None:
    """A tier that was reloaded may need a moment until it reaches what is behind it."""
    await serving(toy, A)
    toy.runner.reply(":18300/healthz", Unreachable("refused"), times=5)
    raise_unless_applied(await apply(toy))
    assert toy.config == b"new"


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Have the tier take its servers for healthy while something holds."""
    real = ToyProxy.parse_switch

    def hold(holds: Callable[[], bool]) -> None:
        def seen(self: ToyProxy, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
            return tuple(replace(one, is_healthy=holds(), detail="" if holds() else "DOWN L7STS") for one in real(self, node, service, completed))

        monkeypatch.setattr(ToyProxy, "parse_switch", seen)

    return hold


async def test_a_server_that_its_tier_takes_for_dead_does_not_serve(toy: Toy, healthy: Callable[[Callable[[], bool]], None]) -> None:
    await serving(toy, A)
    healthy(lambda: toy.config != b"new")
    result = await apply(toy)
    with pytest.raises(ApplyFailed, match=rf"web-1-a: {toy.key} sees it as DOWN L7STS"):
        raise_unless_applied(result)


async def test_what_does_not_serve_again_by_the_old_files_is_said_so(toy: Toy, healthy: Callable[[Callable[[], bool]], None]) -> None:
    await serving(toy, A)
    begun = toy.store.clock.now()
    fails_by_the_new_files(toy)
    healthy(lambda: toy.store.clock.now() == begun)
    result = await apply(toy)
    with pytest.raises(NotRestored, match=f"echo does not serve again: 0 of 1 servers at web-1 {toy.key}") as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 6


async def loses_one(toy: Toy, monkeypatch: pytest.MonkeyPatch, own: Completed | Unreachable) -> Result:
    """Apply new files with which slot b is seen as down, and not up again by the old ones; return how it ends when its program answers so at its own port."""
    await serving(toy, A, B)
    real, is_changed = ToyProxy.parse_switch, list[bool]()

    def seen(self: ToyProxy, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        is_changed.extend([True] if toy.config == b"new" else [])
        return tuple(replace(one, is_healthy=one.name != B or not is_changed) for one in real(self, node, service, completed))

    monkeypatch.setattr(ToyProxy, "parse_switch", seen)
    toy.runner.reply(":8301/healthz", own)
    return await apply(toy)


@pytest.mark.parametrize("own", [Unreachable("refused"), Completed(500)], ids=["dead", "fails"])
async def test_a_program_that_ended_by_itself_is_named_and_no_fault_of_the_old_files(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, own: Completed | Unreachable
) -> None:
    result = await loses_one(toy, monkeypatch, own)
    with pytest.raises(ApplyFailed, match="the old ones are back and it runs with them") as failed:
        raise_unless_applied(result)
    assert (failed.value.exit_code, toy.config) == (5, b"old")
    why = "refused" if isinstance(own, Unreachable) else "/healthz answers 500"
    assert f"echo has 1 of 2 servers at web-1 {toy.key}, 2 are needed: the program of web-1-b fails at its own port 8301: {why}" in str(failed.value)


async def test_a_program_that_works_and_is_not_seen_by_the_old_files_is_not_restored(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await loses_one(toy, monkeypatch, Completed(200))
    with pytest.raises(
        NotRestored, match=f"echo does not serve again: 1 of 2 servers at web-1 {toy.key}, 2 are needed: web-1-b answers at its own port"
    ) as failed:
        raise_unless_applied(result)
    assert failed.value.exit_code == 6


async def test_a_try_after_a_kill_knows_what_was_on_the_air_before_the_first(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, healthy: Callable[[Callable[[], bool]], None]
) -> None:
    await serving(toy, A)
    fails_by_the_new_files(toy)
    healthy(lambda: toy.config == b"old")
    step = ChangeTier("web-1", toy.key)

    async def killed(*_words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(tiers, "require_serving", killed)
        await step.act(toy.site, here())
    assert toy.config == b"new"
    with pytest.raises(ApplyFailed, match="it would take echo off the air"):
        await step.act(toy.site, here())
    assert toy.config == b"old"


@pytest.mark.parametrize("text", ["old", "new"], ids=["before", "after"])
async def test_who_was_succeeded_while_it_asked_what_serves_writes_nothing_more(toy: Toy, text: str) -> None:
    await serving(toy, A)
    loaded = toy.loaded

    def another_takes_over(_act: Act) -> Completed:
        if toy.config == text.encode():
            toy.runner.files.carry_out(PutFile(toy.host.layout.token("prod"), b"100\n"))
        return Completed(200)

    toy.runner.reply(":18300/healthz", another_takes_over)
    with pytest.raises(FencedOff, match="token 1 for prod is older than 100"):
        await ChangeTier("web-1", toy.key).act(toy.site, here())
    assert (toy.config, toy.loaded) == (text.encode(), loaded)


async def test_state_files_are_put_back_too_and_what_was_out_of_traffic_stays_out(toy: Toy) -> None:
    await serving(toy, A)
    toy.traffic[B] = "drain"
    node = toy.host.tiers[0].node
    state = node.folders.state / "echo"
    toy.runner.files.carry_out(PutFile(state, b"names the old port"))
    fails_by_the_new_files(toy)

    def forgets(_act: Act) -> Completed:
        toy.traffic[B] = "drain" if toy.config == b"new" else "ready"
        return Completed(0)

    toy.runner.reply("reload", forgets)
    with pytest.raises(ApplyFailed):
        await ChangeTier("web-1", toy.key).act(toy.site, here())
    assert toy.runner.files.read([state]) == {state: b"names the old port"}
    assert toy.traffic == {A: "ready", B: "drain"}


def listens(toy: Toy, *ports: int) -> None:
    """Have the host accept connections at these ports alone."""
    toy.runner.reply("connect to", Unreachable("refused"))
    for port in ports:
        toy.runner.reply(f":{port}", Completed(0))


@pytest.fixture
def unchecked(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The toy, whose product checks nothing."""
    monkeypatch.setattr(ToyProxy, "traits", replace(ToyProxy.traits, switch_checks=frozenset()))
    return toy


def started_at(toy: Toy, port: int) -> None:
    """Have the program of slot a be started with a port."""
    toy.runner.files.carry_out(PutFile(toy.host.layout.slot_env("echo", "a"), f"MANOR_PORT={port}\n".encode()))


async def test_where_nothing_is_checked_the_slot_has_to_lead_somewhere(unchecked: Toy) -> None:
    await serving(unchecked, A)
    started_at(unchecked, 8100)
    listens(unchecked, 8100, 18300)
    result = await apply(unchecked)
    with pytest.raises(
        ApplyFailed, match=r"web-1-a stands at another port than 8300, which is declared; it runs at another port than is declared: take `run.port` back"
    ):
        raise_unless_applied(result)
    assert unchecked.config == b"old"


async def test_where_nothing_is_checked_a_slot_that_leads_nowhere_by_the_new_files_is_off_the_air(unchecked: Toy) -> None:
    await serving(unchecked, A)

    def listener(_act: Act) -> Completed:
        if unchecked.config == b"new":
            raise Unreachable("refused")
        return Completed(0)

    unchecked.runner.reply("connect to 10.0.0.1:18300", listener)
    result = await apply(unchecked)
    with pytest.raises(ApplyFailed, match=r"the old ones are back") as failed:
        raise_unless_applied(result)
    assert "web-1-a: refused; what serves has to accept connections first" in str(failed.value)


@pytest.mark.parametrize(("port", "open_ports"), [(8300, (8300, 18300)), (8300, ()), (8100, (18300,))], ids=["unmoved", "dead", "dead-and-moved"])
async def test_where_nothing_is_checked_health_is_not_asked_for(unchecked: Toy, port: int, open_ports: Iterable[int]) -> None:
    await serving(unchecked, A)
    started_at(unchecked, port)
    listens(unchecked, *open_ports)
    answers(unchecked, 404)
    raise_unless_applied(await apply(unchecked))
    assert unchecked.config == b"new"


def test_behind_a_web_tier_its_own_host_is_concerned_as_each_balancer_sees_it(tmp_path: Path, toy: Toy) -> None:
    many = ManyToys(many_wiring(tmp_path, 2, 3), toy.store)
    found = concerned(many.site, many.site.tier("web-02", WEB).node)
    assert [(tier.node.host, tier.node.key) for tier, _ in found] == [("edge-1", EDGE), ("edge-2", EDGE)]
    assert {server.name for _, view in found for server in view.servers} == {"web-02-a", "web-02-b"}


def test_a_switching_tier_concerns_its_own_servers_alone(tmp_path: Path, toy: Toy) -> None:
    many = ManyToys(many_wiring(tmp_path, 2, 3), toy.store)
    found = concerned(many.site, many.site.tier("edge-2", EDGE).node)
    assert [tier.node.host for tier, _ in found] == ["edge-2"]
    assert len(found[0][1].servers) == 6


def test_the_time_to_wait_follows_the_rhythm_and_has_an_end(toy: Toy) -> None:
    health = toy.host.tiers[0].node.services[0].health
    assert (health.interval, health.passes, health.fails, health.timeout) == (2.0, 3, 2, 2.0)
    assert (notice_seconds(health), patience_seconds(health)) == (6.0, 15.0)
    slow = health.model_copy(update={"interval": 3600.0})
    assert (notice_seconds(slow), patience_seconds(slow)) == (60.0, 60.0)
