"""What a receipt takes from the operation's arguments and steps: rules set aside, and how hosts came off."""

from __future__ import annotations

from dataclasses import replace

from manor.estate.model import Health, RolloutRules
from manor.rollout.composing import host_ends, overrides
from manor.rollout.plan import InstanceNow, RolloutOrder
from manor.rollout.receipt import HostEnd, Override
from manor.rollout.receipt_text import rows
from manor.state.words import OperationState, Outcome
from manor.workflows.context import Context
from manor.workflows.rolling import ORDER, read_again, write_arguments
from tests.workflows.test_retrying import ended

THE_ORDER = RolloutOrder("shop", "new", (InstanceNow("web-1", "a", "old"),), RolloutRules(), Health(http="/healthz"), 30.0, 0.0)


async def test_a_release_shipped_again_is_an_override_with_its_reason(opened: Context) -> None:
    operation = (await ended(opened, "ship", OperationState.DONE, service="shop")).operation
    again = replace(operation, actor="local:ann", arguments=write_arguments(THE_ORDER, "the cause is gone"))
    assert overrides(again, read_again(again.arguments)) == (Override("local:ann", "a release that had failed here before, once more", "the cause is gone"),)
    assert overrides(again, read_again(write_arguments(THE_ORDER))) == ()


def test_who_reads_the_order_alone_passes_over_what_stands_beside_it() -> None:
    text = write_arguments(THE_ORDER, "why")
    assert ORDER.validate_json(text) == THE_ORDER
    assert read_again(text) == "why"


async def test_a_host_that_failed_says_why(opened: Context) -> None:
    result = await ended(opened, "ship", OperationState.FAILED, back={"web-2": Outcome.OK, "web-3": Outcome.UNREACHABLE}, service="shop")
    assert host_ends(result) == (HostEnd("web-1", "ok"), HostEnd("web-2", "failed", "why"), HostEnd("web-3", "unreachable", "why"), HostEnd("web-4", "skipped"))
    assert rows((each.host, each.outcome, each.why) for each in host_ends(result))[:2] == ["web-1  ok", "web-2  failed       why"]
