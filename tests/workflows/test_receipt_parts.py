"""What a receipt takes from the operation's arguments and steps: rules set aside, and how hosts came off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from manor.estate.model import Health, RolloutRules
from manor.rollout.composing import Asked, host_ends, overrides
from manor.rollout.plan import InstanceNow, RolloutOrder
from manor.rollout.receipt import Gate, HostEnd, Override
from manor.rollout.receipt_text import rows
from manor.state.receipts import ReceiptRow, add
from manor.state.words import OperationState, Outcome
from manor.workflows.context import Context
from manor.workflows.finding_receipts import verdict_of
from manor.workflows.rolling import ORDER, read_asked, write_arguments
from tests.workflows.test_retrying import ended

THE_ORDER = RolloutOrder("shop", "new", (InstanceNow("web-1", "a", "old"),), RolloutRules(), Health(http="/healthz"), 30.0, 0.0)

CASES = Path(__file__).parents[1] / "rollout" / "receipt" / "cases"
GATES = (Gate("tests", "pass", "12 tests, 0 failed, 0 skipped; by run 7"),)


async def test_a_release_shipped_again_is_an_override_with_its_reason(opened: Context) -> None:
    operation = (await ended(opened, "ship", OperationState.DONE, service="shop")).operation
    again = replace(operation, actor="local:ann", arguments=write_arguments(THE_ORDER, "the cause is gone"))
    assert overrides(again, read_asked(again.arguments).again) == (
        Override("local:ann", "a release that had failed here before, once more", "the cause is gone"),
    )
    assert overrides(again, read_asked(write_arguments(THE_ORDER)).again) == ()


def test_who_reads_the_order_alone_passes_over_what_stands_beside_it() -> None:
    text = write_arguments(THE_ORDER, "why", GATES)
    assert ORDER.validate_json(text) == THE_ORDER
    assert read_asked(text) == Asked("why", GATES)


def test_arguments_from_before_have_no_gates() -> None:
    assert read_asked(json.dumps(ORDER.dump_python(THE_ORDER, mode="json"))) == Asked()


async def test_a_host_that_failed_says_why(opened: Context) -> None:
    result = await ended(opened, "ship", OperationState.FAILED, back={"web-2": Outcome.OK, "web-3": Outcome.UNREACHABLE}, service="shop")
    assert host_ends(result) == (HostEnd("web-1", "ok"), HostEnd("web-2", "failed", "why"), HostEnd("web-3", "unreachable", "why"), HostEnd("web-4", "skipped"))
    assert rows((each.host, each.outcome, each.why) for each in host_ends(result))[:2] == ["web-1  ok", "web-2  failed       why"]


async def test_the_verdict_of_an_operation_is_its_receipts_first_sentence(opened: Context) -> None:
    body = (CASES / "certified_without_a_probe" / "receipt.json").read_text()
    await opened.store.write(add, ReceiptRow("op", "prod", "shop", "new", 0, body, 1.0))
    assert await verdict_of(opened, "op") == "certified WITHOUT A PROBE: nothing shows whether requests were lost"
    assert await verdict_of(opened, "another") == ""
