"""What the next verb does with what somebody left: by the verb of what was left and by the verb that comes (docs/operations.md, adoption)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from manor.errors import ApplyFailed, FencedOff, ManorError, NotRestored, Paused, UsageError
from manor.operations.engine import Beside
from manor.operations.events import Event
from manor.operations.planning import Result, create
from manor.operations.stop import Stop
from manor.state import leases, operations
from manor.state.operations import NewOperation, Operation
from manor.state.words import OperationState
from manor.workflows import taking_over
from manor.workflows.applying import APPLY_KINDS
from manor.workflows.context import Context
from manor.workflows.orphans import Coming, Fate, fate_of, refusal
from manor.workflows.resuming import WhyBack
from manor.workflows.rolling import Carrying
from manor.workflows.services import remove_service
from manor.workflows.taking_over import coming_to, take_over
from tests.operations.model import take

HERE, THERE = "digest-now", "digest-then"
SHOP, WHOLE = "prod/shop", "prod"
VERBS = ("ship", "promote", "restart", "remove", "rollback", "apply")
ON, BACK, LATER, WAIT = Fate.GO_ON, Fate.TURN_ROUND, Fate.GIVE_UP_IF_DONE, Fate.WAIT
RUNNING, PAUSED = OperationState.RUNNING, OperationState.PAUSED

#        left       lease  estate state    ship  promote restart remove rollback apply
TABLE = [
    ("ship",     SHOP,  HERE,  RUNNING, (ON,   ON,   ON,   ON,   BACK, WAIT)),
    ("promote",  SHOP,  THERE, RUNNING, (ON,   ON,   ON,   ON,   BACK, WAIT)),
    ("restart",  SHOP,  HERE,  RUNNING, (ON,   ON,   ON,   ON,   BACK, WAIT)),
    ("rollback", SHOP,  HERE,  RUNNING, (ON,   ON,   ON,   ON,   ON,   WAIT)),
    ("remove",   SHOP,  THERE, RUNNING, (ON,   ON,   ON,   ON,   ON,   WAIT)),
    ("ship",     SHOP,  HERE,  PAUSED,  (WAIT, WAIT, WAIT, WAIT, WAIT, WAIT)),
    ("rollback", SHOP,  HERE,  PAUSED,  (WAIT, WAIT, WAIT, WAIT, WAIT, WAIT)),
    ("apply",    WHOLE, HERE,  RUNNING, (ON,   ON,   ON,   ON,   ON,   ON)),
    ("apply",    WHOLE, THERE, RUNNING, (WAIT, WAIT, WAIT, WAIT, WAIT, LATER)),
    ("apply",    WHOLE, HERE,  PAUSED,  (WAIT, WAIT, WAIT, WAIT, WAIT, ON)),
    ("apply",    WHOLE, THERE, PAUSED,  (WAIT, WAIT, WAIT, WAIT, WAIT, LATER)),
    ("down",     WHOLE, HERE,  RUNNING, (WAIT, WAIT, WAIT, WAIT, WAIT, WAIT)),
    ("down",     WHOLE, THERE, PAUSED,  (WAIT, WAIT, WAIT, WAIT, WAIT, WAIT)),
]  # fmt: skip
CASES = [(*row[:4], verb, fate) for row in TABLE for verb, fate in zip(VERBS, row[4], strict=True)]


def left_by(verb: str, lease: str, digest: str, state: OperationState) -> Operation:
    environment, _, service = lease.partition("/")
    return Operation(
        "op-1",
        verb,
        environment,
        service,
        "ada",
        "{}",
        digest,
        "4a3a6c548d28",
        1,
        state,
        "",
        "web-1 is held" if state is PAUSED else "",
        0,
        None,
        0.0,
        0.0,
        None,
    )


@pytest.mark.parametrize(("verb", "lease", "digest", "state", "comes", "fate"), CASES)
def test_fates(verb: str, lease: str, digest: str, state: OperationState, comes: str, fate: Fate) -> None:
    service = "" if comes == "apply" else "shop"
    assert fate_of(left_by(verb, lease, digest, state), Coming(comes, "prod", service, HERE)) is fate


@pytest.mark.parametrize("verb", ["ship", "promote", "restart"])
def test_what_has_certified_its_release_is_finished_by_a_rollback_too(verb: str) -> None:
    assert fate_of(left_by(verb, SHOP, HERE, RUNNING), Coming("rollback", "prod", "shop", HERE), has_certified=True) is Fate.GO_ON


def test_an_apply_is_gone_on_with_only_if_it_is_the_plan_that_was_named() -> None:
    left = left_by("apply", WHOLE, HERE, RUNNING)
    assert [fate_of(left, Coming("apply", "prod", "", HERE, plan)) for plan in ("4a3a6c548d28", "0" * 12)] == [Fate.GO_ON, Fate.GIVE_UP_IF_DONE]


@pytest.mark.parametrize(
    ("verb", "digest", "state", "says"),
    [
        (
            "down",
            HERE,
            RUNNING,
            "operation op-1 (down prod) is half done, and nobody carries it out; first `manor down -e prod`, `manor up -e prod`, "
            "`manor resume op-1`, or `manor abandon op-1 --reason …`",
        ),
        (
            "apply",
            THERE,
            RUNNING,
            "operation op-1 (apply prod) is half done, and nobody carries it out, and leads to another estate than the present one: ship does not "
            "go on with it; first `manor resume op-1`, or `manor abandon op-1 --reason …`",
        ),
        ("apply", HERE, PAUSED, "operation op-1 (apply prod) is paused: web-1 is held; first `manor resume op-1`, or `manor abandon op-1 --reason …`"),
    ],
)
def test_a_refusal_names_the_operation_and_the_commands(verb: str, digest: str, state: OperationState, says: str) -> None:
    assert refusal(left_by(verb, WHOLE, digest, state), Coming("ship", "prod", "shop", HERE)) == says


@dataclass
class Resuming:
    """Stands in for what goes on with operations: ends each as it is told, and remembers which."""

    ends: dict[str, OperationState | ManorError] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)
    said: list[str] = field(default_factory=list)
    is_stopped_by_first: bool = False

    @property
    def carrying(self) -> Carrying:
        return Carrying("ada", self.tell, self.stop)

    def tell(self, event: Event) -> None:
        self.said.append(event.text)

    async def resume(self, _context: Context, operation: Operation, _carrying: Carrying, *, why_back: WhyBack, **_: Beside) -> Result:
        back = await why_back(operation)
        self.seen.append(f"{operation.verb} {operation.lease}{' back' if back else ''}")
        if self.is_stopped_by_first:
            self.stop.request("stopped by SIGINT")
        end = self.ends.get(operation.verb, OperationState.DONE)
        if isinstance(end, ManorError):
            raise end
        return Result(replace(operation, state=end, arguments=ORDER), ())


ORDER = (
    '{"service": "shop", "release": "0123456789ab", "instances": [], "rules": {}, "health": {"http": "/"}, '
    '"drain_seconds": 1.0, "bake_seconds": 0.0, "certified": "ba9876543210"}'
)


@pytest.fixture
def resuming(monkeypatch: pytest.MonkeyPatch) -> Resuming:
    made = Resuming()
    monkeypatch.setattr(taking_over, "resume_operation", made.resume)
    return made


async def orphan(context: Context, verb: str, service: str = "shop", digest: str = "") -> Operation:
    """Return an operation of `prod` whose executor is gone."""
    store = context.store
    operation = await create(store, NewOperation(verb, "prod", service, estate_digest=digest or context.estate.digest), [], APPLY_KINDS)
    lease = take(store, operation.lease, operation.id, 1)
    await store.write(operations.begin, operation.id, lease.token, at=store.clock.now())
    await store.write(leases.release, operation.lease, lease.token)
    return await store.read(operations.get, operation.id)


async def test_service_verbs_take_over_what_is_of_that_service_alone(opened: Context, resuming: Resuming) -> None:
    await orphan(opened, "ship")
    await orphan(opened, "ship", "crm")
    await orphan(opened, "apply", "")
    ended = await take_over(opened, coming_to(opened, "rollback", "prod", "shop"), resuming.carrying)
    assert resuming.seen == ["ship prod/shop back", "apply prod"]
    assert [one.operation.verb for one in ended] == ["ship", "apply"]


@pytest.mark.parametrize(("verb", "left", "digest"), [("ship", "down", ""), ("rollback", "apply", "another")])
async def test_what_concerns_the_environment_keeps_a_service_verb_from_beginning(
    opened: Context, resuming: Resuming, verb: str, left: str, digest: str
) -> None:
    await orphan(opened, "ship")
    whole = await orphan(opened, left, "", digest)
    with pytest.raises(
        Paused, match=rf"operation {whole.id} \({left} prod\) is half done.*`manor resume {whole.id}`, or `manor abandon {whole.id} --reason …`"
    ):
        await take_over(opened, coming_to(opened, verb, "prod", "shop"), resuming.carrying)
    assert resuming.seen == [], "nothing is begun before all was decided about"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (OperationState.FAILED, NotRestored),
        (OperationState.PAUSED, Paused),
        (NotRestored("web-1: mend it by hand"), NotRestored),
        (Paused("the estate is gone"), Paused),
        (FencedOff("somebody else has it"), FencedOff),
    ],
)
@pytest.mark.parametrize("verb", ["ship", "rollback"])
async def test_what_needs_a_person_ends_the_verb(
    opened: Context, resuming: Resuming, end: OperationState | ManorError, kind: type[ManorError], verb: str
) -> None:
    await orphan(opened, "ship")
    await orphan(opened, "restart")
    resuming.ends["ship"] = end
    with pytest.raises(kind):
        await take_over(opened, coming_to(opened, verb, "prod", "shop"), resuming.carrying)
    assert len(resuming.seen) == 1


@pytest.mark.parametrize("end", [OperationState.REVERTED, ApplyFailed("web-1: it said no")])
async def test_what_serves_as_before_is_told_and_keeps_nobody(opened: Context, resuming: Resuming, end: OperationState | ManorError) -> None:
    left = await orphan(opened, "ship")
    await orphan(opened, "restart")
    resuming.ends["ship"] = end
    ended = await take_over(opened, coming_to(opened, "ship", "prod", "shop"), resuming.carrying)
    assert [one.operation.verb for one in ended] == ["restart"]
    assert resuming.said[1].startswith(f"ship prod/shop, operation {left.id}: ")


@pytest.mark.parametrize(("verb", "end"), [("rollback", OperationState.REVERTED), ("ship", OperationState.ABANDONED)])
async def test_what_was_turned_round_as_wished_or_given_up_meanwhile_is_no_failure(opened: Context, resuming: Resuming, verb: str, end: OperationState) -> None:
    await orphan(opened, "ship")
    resuming.ends["ship"] = end
    assert len(await take_over(opened, coming_to(opened, verb, "prod", "shop"), resuming.carrying)) == 1
    assert len(resuming.said) == 1


async def test_ctrl_c_during_one_begins_no_other_and_nothing_of_the_verb(opened: Context, resuming: Resuming) -> None:
    await orphan(opened, "ship")
    await orphan(opened, "restart")
    resuming.is_stopped_by_first = True
    with pytest.raises(Paused, match="stopped by SIGINT; nothing of the promote itself was begun: `manor status` shows what serves"):
        await take_over(opened, coming_to(opened, "promote", "prod", "shop"), resuming.carrying)
    assert resuming.seen == ["ship prod/shop"]


async def test_a_service_that_is_declared_is_not_removed_and_nothing_is_taken_over(opened: Context, resuming: Resuming) -> None:
    await orphan(opened, "ship")
    with pytest.raises(UsageError, match="prod still declares shop"):
        await remove_service(opened, "shop", "prod", resuming.carrying)
    assert resuming.seen == []
