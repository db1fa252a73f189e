"""The receipt of a rollout that was really carried out (tests/e2e/test_receipts.py writes it down anew), by the code that every receipt is made by."""

from __future__ import annotations

from pathlib import Path

from manor.rollout.receipt import parse_receipt
from manor.rollout.receipt_text import render_text, verdict
from tests.rollout.receipt.recorded import receipt_of

RECORDED = Path(__file__).parent / "recorded" / "rolling"


def test_a_recorded_rollout_makes_its_receipt() -> None:
    receipt = receipt_of(RECORDED)
    assert receipt == parse_receipt((RECORDED / "receipt.json").read_text())
    assert render_text(receipt) == (RECORDED / "receipt.txt").read_text()


def test_it_has_all_that_a_receipt_can_say_of_a_rollout_that_went_well() -> None:
    receipt = receipt_of(RECORDED)
    assert verdict(receipt) == f"certified, lost 0 of {receipt.probe.sent}"
    assert receipt.probe.added is not None
    assert receipt.probe.baseline is not None
    assert receipt.probe.baseline.begin < receipt.window.end
    assert receipt.edge is not None
    assert receipt.edge.window.total >= 0.98 * receipt.probe.sent
    assert (len(receipt.drains), receipt.incomplete) == (2, ())
    assert [(gate.name, gate.verdict) for gate in receipt.gates] == [("preflight", "pass"), ("bake", "pass"), ("losses", "pass")]
    assert receipt.gates[-1].numbers == f"lost 0 of {receipt.probe.sent}; budget 0"
    assert receipt.drain_policy == "extend"
    assert {moment.batch for moment in receipt.timeline} == {None, 1, 2}
