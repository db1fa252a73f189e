"""A tier as a part of a program that somebody else runs: what is done to it, and how it ends (docs/ownership.md, beside yours)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from manor.errors import ApplyFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.topology import ServiceView, Theirs, TierNode, TrafficState
from manor.execution.guard import Guard, Manage
from manor.execution.values import Act, Command, Completed, HostPath, PutFile, Remove, SocketCommand
from manor.integrations.proxies.parts import Found, Judging, Part
from manor.reconcile.apply import LiveTiers, apply_steps
from manor.reconcile.desired import DesiredHost, desired_tier, digest_of, rendered_files
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.keeping import keep_files, kept_in
from manor.reconcile.parts import find_master, left_beside, part_problem, remember_beside, withdraw
from manor.reconcile.tiers import CheckTier, TellTier
from manor.state import operations, releases
from manor.state.operations import NewOperation
from manor.state.words import Slot, Traffic
from tests.reconcile.test_apply import apply, here
from tests.reconcile.toys import ROOT, Toy, ToyProxy

FOLDER = HostPath("/etc/toy")
OWN = FOLDER / "conf.d" / "toy.conf"
THEIRS = Theirs("include", FOLDER / "conf.d", FOLDER / "main.conf", HostPath("/run/toy.pid"), HostPath("/run/toy.sock"))
STATUS = HostPath("/proc/77/status")
CATCHES = b"Name:\ttoy\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000004001\n"
KILL = "/bin/sh -c 'kill"


class ToyPart(Part):
    """Our file in the folder of a toy that somebody else runs."""

    process = "toy"
    signal = "HUP"

    def own_file(self, node: TierNode) -> str:
        return "toy.conf"

    def obstacles(self, node: TierNode, found: Found) -> tuple[str, ...]:
        return () if b"include" in found.main else ("the main file does not include ours",)

    def judge(self, node: TierNode, found: Found, folder: HostPath, ours: bytes | None) -> Judging:
        acts = (PutFile(folder / "toy.conf", ours),) if ours is not None else ()
        return Judging(acts, Command(("toy", "check", str(folder), "with" if ours else "without")))

    def is_loaded(self, node: TierNode, completed: Completed | None) -> bool:
        return completed is not None and completed.text != "gone"

    def shown(self, node: TierNode) -> Act:
        return SocketCommand(HostPath("/run/toy.sock"), "show pasted")

    def differences(self, node: TierNode, completed: Completed) -> tuple[str, ...]:
        return (completed.text,) if completed.text else ()


class PartProxy(ToyProxy):
    """A toy that takes part."""

    part = ToyPart()


@dataclass
class PartToy(Toy):
    """One host with a tier that is a part of a toy of somebody else."""

    theirs: Theirs = THEIRS

    def __post_init__(self) -> None:
        super().__post_init__()
        subjects = {f"tier/{self.key}": Manage[self.theirs.manage.upper()]}
        self.runner.guard = Guard("prod/web-1", subjects=subjects, roots=(ROOT, ROOT / "s", OWN))
        self.lie_there()

    def lie_there(self) -> None:
        """Have their files lie there, and their master run."""
        self.there({FOLDER / "main.conf": b"include conf.d", FOLDER / "conf.d" / "legacy.conf": b"theirs", HostPath("/run/toy.pid"): b"77\n"})
        self.there({HostPath("/proc/77/comm"): b"toy\n", HostPath("/proc/77/cmdline"): b"toy\0-c\0main.conf\0", STATUS: CATCHES})

    def there(self, files: Mapping[HostPath, bytes]) -> None:
        """Have files of theirs lie there."""
        for path, content in files.items():
            self.runner.files.carry_out(PutFile(path, content))

    @property
    def host(self) -> DesiredHost:
        """What is to be."""
        whole = super().host
        node, proxy = replace(whole.tiers[0].node, theirs=self.theirs), PartProxy(self.text)
        files = tuple(replace(file, path=OWN) for file in whole.tiers[0].files) if rendered_files(node, proxy) else ()
        tier = replace(whole.tiers[0], node=node, proxy=proxy, files=files, digest=digest_of([*files]))
        programs = tuple(program for program in whole.supervised.programs if not program.name.startswith("tier-"))
        return replace(whole, tiers=(tier,), supervised=replace(whole.supervised, programs=programs))

    @property
    def killed(self) -> int:
        """How often their master was signalled."""
        return sum(shown.startswith(KILL) for shown in self.runner.shown)


@pytest.fixture
def part(toy: Toy) -> PartToy:
    found = PartToy(toy.wiring, toy.store)
    found.runs()
    return found


async def test_one_file_is_written_judged_with_theirs_and_taken_over_by_a_signal(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    assert part.config == b"old"
    acts = " ".join(part.runner.shown)
    places = [acts.index(one) for one in ("with", str(OWN), "sh HUP 77", "loaded")]
    assert places == sorted(places)
    written = {act.path for act in part.runner.acts if isinstance(act, PutFile | Remove) and not act.path.is_relative_to(ROOT)}
    assert written == {OWN}
    assert part.loaded == part.host.tiers[0].digest
    assert (await part.plan()).is_empty
    assert part.host.tiers[0].programs == ()


async def test_what_was_not_yet_told_is_a_change(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.runner.files.carry_out(Remove(part.host.layout.loaded(part.key)))
    (change,) = (await part.plan()).changes
    assert (change.action, change.what, change.before) == ("reload", part.key, "not yet")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({HostPath("/run/toy.pid"): b""}, "/run/toy.pid holds no pid"),
        ({HostPath("/run/toy.pid"): b"1"}, "holds no pid ('1')"),
        ({HostPath("/run/toy.pid"): b"78"}, "/run/toy.pid says 78, which is no process, not toy; Manor does not start this program"),
        ({HostPath("/proc/77/comm"): b"bash\n"}, "/run/toy.pid says 77, which is bash, not toy"),
        ({STATUS: CATCHES.replace(b"4001", b"4000")}, "/run/toy.pid says 77, which SIGHUP would end: it is no master; start toy with one"),
        ({FOLDER / "main.conf": b"nothing"}, "the main file does not include ours"),
    ],
)
async def test_what_stands_in_the_way_is_refused_before_anything_is_written(part: PartToy, files: Mapping[HostPath, bytes], told: str) -> None:
    part.there(files)
    with pytest.raises(Refused) as refused:
        raise_unless_applied(await apply(part))
    assert told in str(refused.value)
    assert part.config == b""
    assert part.killed == 0


async def test_places_that_are_not_there_are_named(part: PartToy) -> None:
    part.theirs = replace(THEIRS, main=FOLDER / "other.conf", into=FOLDER / "none")
    with pytest.raises(Refused, match=r"there is no file /etc/toy/other.conf; name yours; there is no folder /etc/toy/none; name yours"):
        raise_unless_applied(await apply(part))


async def test_their_checker_has_the_last_word(part: PartToy) -> None:
    part.runner.reply("toy check", Completed(1, b"legacy.conf:3: what?"))
    with pytest.raises(Refused, match=r"legacy.conf:3: what\?; no tier was changed"):
        raise_unless_applied(await apply(part))
    assert part.config == b""


async def test_a_first_file_that_is_not_taken_over_goes_again(part: PartToy) -> None:
    part.runner.reply("loaded", Unreachable("nobody answers"))
    with pytest.raises(ApplyFailed, match="the old ones are back"):
        raise_unless_applied(await apply(part))
    assert await part.runner.digest([OWN]) == {}
    assert part.killed == 2
    assert part.loaded == ""


async def test_a_later_file_that_is_not_taken_over_gives_way_to_the_one_before(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.text = "new"
    part.runner.reply("loaded", Unreachable("nobody answers"))
    with pytest.raises(ApplyFailed, match="the old ones are back"):
        raise_unless_applied(await apply(part))
    assert part.config == b"old"


async def test_that_there_was_none_before_is_known_after_a_crash_in_the_middle(part: PartToy) -> None:
    folder = kept_in(part.host, here(), part.key)
    kept = await keep_files(folder, part.host.tiers[0], part.site)
    part.there({OWN: b"half"})
    assert kept == {}
    assert await keep_files(folder, part.host.tiers[0], part.site) == {}


async def test_what_their_program_may_have_taken_over_from_somebody_is_replaced_by_a_reload(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.there({OWN: b"old, and a line of somebody"})
    raise_unless_applied(await apply(part))
    assert part.config == b"old"
    assert part.killed == 2
    raise_unless_applied(await apply(part))
    assert part.killed == 2


async def test_their_program_dying_in_between_is_said(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    assert await part_problem(part.host.tiers[0], part.runner) == ""
    part.runner.reply("loaded", Unreachable("nobody answers"))
    assert "does not answer for Manor's file" in await part_problem(part.host.tiers[0], part.runner)
    part.there({HostPath("/proc/77/comm"): b"bash\n"})
    assert "which is bash" in await part_problem(part.host.tiers[0], part.runner)
    with pytest.raises(ManorError, match="which is bash"):
        await find_master(part.host.tiers[0], part.runner)


async def gone(part: PartToy) -> str:
    """Take our file out."""
    return await withdraw(part.host.tiers[0], part.runner, ROOT / "ops" / "down", part.store.clock)


async def test_our_file_goes_when_their_files_hold_without_it(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.runner.reply("loaded", Completed(0, b"gone"))
    assert await gone(part) == f"{OWN} removed; your program works without it"
    assert await part.runner.digest([OWN]) == {}
    assert part.killed == 2
    assert await gone(part) == ""


async def test_our_file_stays_while_theirs_needs_it(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.runner.reply("without", Completed(1, b"legacy.conf:3: no such upstream"))
    with pytest.raises(Refused, match=r"legacy.conf:3: no such upstream; take out what names Manor's sections"):
        await gone(part)
    assert part.config == b"old"
    assert part.killed == 1


async def test_our_file_comes_back_if_their_program_goes_on_with_it(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    with pytest.raises(NotRestored, match="what was there is back"):
        await gone(part)
    assert part.config == b"old"


async def test_a_program_that_was_not_told_yet_is_told(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.runner.files.carry_out(Remove(OWN))
    part.runner.reply("loaded", Completed(0, b"gone"))
    part.runner.reply("loaded", Completed(0, b"ours"), times=1)
    assert "your program works without it" in await gone(part)
    assert part.killed == 2


async def test_our_file_goes_from_a_program_that_is_not_there_any_more(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    part.there({HostPath("/run/toy.pid"): b""})
    assert "holds no pid" in await gone(part)
    assert await part.runner.digest([OWN]) == {}


async def test_what_lies_in_their_folders_is_remembered(part: PartToy) -> None:
    raise_unless_applied(await apply(part))
    assert await left_beside(part.host, part.runner) == []
    part.theirs = replace(THEIRS, into=FOLDER / "other")
    assert await left_beside(part.host, part.runner) == [OWN]
    await remember_beside(part.host, part.runner)
    assert await left_beside(part.host, part.runner) == [OWN]
    part.runner.files.carry_out(Remove(OWN))
    assert await left_beside(part.host, part.runner) == []


async def test_a_host_where_nothing_may_be_started_has_no_supervisor(part: PartToy) -> None:
    host = replace(part.host, is_supervised=False)
    kinds = [planned.step.kind for planned in apply_steps(await part.plan(), {"web-1": host}, LiveTiers(frozenset({("web-1", part.key)})))]
    assert kinds == ["fence", "prepare", "check", "change"]


@pytest.fixture
def talked(toy: Toy) -> PartToy:
    found = PartToy(toy.wiring, toy.store, theirs=Theirs("runtime", socket=HostPath("/run/toy.sock")))
    found.runs()
    return found


async def test_over_the_socket_nothing_is_written_and_what_is_missing_is_named(talked: PartToy) -> None:
    assert talked.host.tiers[0].files == ()
    assert talked.host.tiers[0].own_path is None
    assert await CheckTier("web-1", talked.key).act(talked.site, here()) == "0-web-nginx: toy shows what was to be pasted"
    talked.runner.reply("show pasted", Completed(0, b"there is no web-1-a"))
    with pytest.raises(Refused, match="there is no web-1-a"):
        await CheckTier("web-1", talked.key).act(talked.site, here())
    assert await part_problem(talked.host.tiers[0], talked.runner) == "there is no web-1-a"
    talked.runner.reply("show pasted", Unreachable("no socket"))
    assert await part_problem(talked.host.tiers[0], talked.runner) == "no socket"


async def test_a_balancer_that_forgot_is_a_change_and_is_told(talked: PartToy) -> None:
    raise_unless_applied(await apply(talked))
    assert (await talked.plan()).is_empty
    plan = await talked.plan(untold={("web-1", talked.key): ("echo web-1-a is ready, not maint",)})
    (change,) = plan.changes
    assert (change.action, change.diff) == ("update", "echo web-1-a is ready, not maint")
    assert plan.hash != (await talked.plan()).hash
    talked.traffic["web-1-b"] = "ready"
    assert await told(talked) == ["switch web-1-b=maint"]
    assert await told(talked) == []


async def told(talked: PartToy) -> list[str]:
    """Tell the balancer, and return what it was told."""
    before = len(talked.runner.acts)
    await TellTier("web-1", talked.key).act(talked.site, here())
    return [act.line for act in talked.runner.acts[before:] if isinstance(act, SocketCommand) and act.line.startswith("switch")]


def serves(talked: PartToy) -> None:
    """Have the store say that slot a serves."""
    store = talked.store
    operation = store.write_now(operations.create, NewOperation("ship", "prod", "echo"), at=1.0).id
    store.write_now(operations.begin, operation, 1, at=1.0)
    store.write_now(releases.put_slot, "prod", "echo", "echo@web-1#1", Slot.A, "r1", Traffic.READY, operation, 1, at=1.0)
    store.write_now(releases.put_deployment, "prod", "echo", "echo@web-1#1", "web-1", Slot.A, operation, 1, at=1.0)


async def test_what_a_person_took_out_of_a_balancer_without_a_file_stays_out(talked: PartToy) -> None:
    serves(talked)
    assert await told(talked) == ["switch web-1-a=ready"]
    talked.traffic |= {"web-1-a": "drain", "web-1-b": "ready"}
    assert await told(talked) == ["switch web-1-b=maint"]
    assert talked.traffic["web-1-a"] == "drain"


async def test_what_a_down_took_out_of_it_is_told_again_by_the_next_apply(talked: PartToy) -> None:
    serves(talked)
    assert await told(talked) == ["switch web-1-a=ready"]
    assert "in maintenance" in await gone(talked)
    assert set(talked.traffic.values()) == {"maint"}
    talked.runner.files.carry_out(Remove(talked.host.layout.loaded(talked.key)))
    assert await told(talked) == ["switch web-1-a=ready"]


async def test_taken_away_over_the_socket_nothing_is_sent_any_more(talked: PartToy, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[TrafficState] = []

    def switch(_self: ToyProxy, _node: TierNode, _view: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        wanted.extend(traffic.values())
        return (SocketCommand(HostPath("/run/toy.sock"), "switch"),)

    monkeypatch.setattr(ToyProxy, "switch", switch)
    assert "what you pasted is yours to take out" in await gone(talked)
    assert wanted == [TrafficState.MAINT, TrafficState.MAINT]
    talked.runner.reply("switch", Unreachable("no socket"))
    assert await gone(talked) == "your program was not told: no socket"


def test_a_tiers_file_is_put_where_their_program_includes_it(part: PartToy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.reconcile.desired.product", lambda _kind, _name: PartProxy("x"))
    tier = desired_tier(part.host.tiers[0].node, ())
    assert [file.path for file in tier.files] == [OWN]
    assert tier.own_path == OWN
