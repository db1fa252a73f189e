"""Receipts as people and programs read them: cases of JSON in, text out; and how a recording becomes the first column."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manor.errors import ManorError
from manor.observe.probe import Lane, LossKind, Outcome, ProbeConfig, Recording, Target
from manor.observe.probe.results import Break
from manor.observe.probe.summary import LEAST_COMPARED
from manor.observe.window import Window
from manor.rollout.composing import AGAIN, ENDS, JUDGED, LOSSES, OUTAGE
from manor.rollout.losses import Count
from manor.rollout.receipt import DrainPolicy, Receipt, parse_receipt, probe_column, render_json
from manor.rollout.receipt_text import POLICIES, probe_lines, render_text, verdict
from manor.rollout.spans import ProbeSpan

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
WINDOW = Window(100.0, 110.0)
SPAN = ProbeSpan(WINDOW)


def load(name: str) -> Receipt:
    return parse_receipt((Path(__file__).parent / "cases" / name / "receipt.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_text_is_as_the_case_says(case: Path, request: pytest.FixtureRequest) -> None:
    receipt, golden = load(case.name), case / "receipt.txt"
    if request.config.getoption("--update-golden", default=False):
        golden.write_text(render_text(receipt))
    assert render_text(receipt) == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_json_comes_back_as_it_was(case: Path) -> None:
    assert parse_receipt(render_json(load(case.name))) == load(case.name)


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith("interrupt")], ids=lambda case: case.name)
def test_an_interruption_is_never_called_zero(case: Path) -> None:
    text = render_text(load(case.name)).lower()
    assert "zero" not in text
    assert "lost 0" not in text


def test_another_text_is_no_receipt() -> None:
    with pytest.raises(ManorError, match="not a receipt"):
        parse_receipt("{}")


def test_losses_beyond_the_budget_and_outages_beyond_the_limit_fail() -> None:
    assert load("rolling_nothing_lost").is_within_budget
    assert not load("rolling_with_losses").is_within_budget
    assert load("interrupt_measured").is_within_budget


def target(rate: float = 10.0, **more: Any) -> Target:
    return Target(name="health", address="127.0.0.1", port=8443, host="shop.localhost", rate=rate, **more)


def recording(outcomes: list[Outcome], *, ended: bool = True, in_flight: int = 0, unsent: int = 0, last_seen: float = 111.0) -> Recording:
    return Recording(ProbeConfig(targets=(target(),)), tuple(outcomes), unsent, in_flight, ended, last_seen)


def outcomes(count: int, lost: range = range(0)) -> list[Outcome]:
    return [
        Outcome(0, Lane.NEW, 100 + number / 10, 100 + number / 10, 100.01 + number / 10, 0, LossKind.REFUSED if number in lost else None)
        for number in range(count)
    ]


def test_a_whole_recording_has_a_bound_and_no_gaps() -> None:
    column = probe_column(recording(outcomes(100)), SPAN)
    assert (column.sent, column.lost, column.bound, column.incomplete, column.outage) == (100, 0, 0.03, (), None)


def test_losses_have_an_outage_and_no_bound() -> None:
    column = probe_column(recording(outcomes(100, lost=range(20, 35))), SPAN)
    assert (column.lost, column.bound) == (15, None)
    assert column.outage is not None
    assert (column.outage.begin, column.outage.seconds) == pytest.approx((102.0, 1.5))


def test_an_outage_that_does_not_end_lasts_to_the_end() -> None:
    column = probe_column(recording(outcomes(100, lost=range(90, 100))), SPAN)
    assert column.outage is not None
    assert column.outage.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("made", "gap"),
    [
        (recording(outcomes(50), ended=False, in_flight=2, last_seen=105.0), "it ended 5 s before the rollout, with 2 requests on their way"),
        (recording(outcomes(100), ended=False, in_flight=2), "it was not stopped in order; what became of 2 requests is not known"),
        (recording(outcomes(90), unsent=10), "10 requests could not be sent: this machine was out of files, ports or memory"),
        (recording(outcomes(80)), "80 requests were sent, 100 were due"),
        (recording(outcomes(60), last_seen=106.0), "it ended 4 s before the rollout, with 0 requests on their way"),
        (recording(outcomes(98), unsent=2), "2 requests could not be sent: this machine was out of files, ports or memory"),
    ],
)
def test_a_recording_with_gaps_says_so(made: Recording, gap: str) -> None:
    column = probe_column(made, SPAN)
    assert column.incomplete == (gap,)
    assert not column.is_whole


def test_one_request_in_two_hundred_that_was_not_sent_is_told_and_hinders_nothing() -> None:
    column = probe_column(recording(outcomes(199), unsent=1, last_seen=121.0), ProbeSpan(Window(100.0, 119.9)))
    assert column.is_whole
    assert column.incomplete == ("1 requests could not be sent: this machine was out of files, ports or memory",)


def test_what_was_asked_before_and_after_the_span_counts_too() -> None:
    column = probe_column(recording(outcomes(100, lost=range(99, 100))), ProbeSpan(Window(101.0, 109.0)))
    assert (column.sent, column.lost, column.incomplete) == (100, 1, ())


def test_what_was_moved_after_the_probe_is_told() -> None:
    column = probe_column(recording(outcomes(100)), replace(SPAN, was_moved_later=True))
    assert column.is_whole
    assert column.incomplete == ("what was moved after it had ended, on the way back, was not probed",)


ASLEEP = Break(104.0, 106.0, 2)


def test_what_was_not_asked_while_nobody_carried_the_rollout_out_is_told_and_hinders_nothing() -> None:
    made = replace(recording([each for each in outcomes(100, lost=range(39, 40)) if not 104.0 <= each.due < 106.0]), breaks=(ASLEEP,))
    column = probe_column(made, replace(SPAN, idle=(Window(103.0, 106.5),)))
    assert (column.is_whole, column.sent, column.unasked) == (True, 80, (Window(104.0, 106.0),))
    assert column.incomplete == (
        "it asked until 1970-01-01 00:01:44 UTC and again from 1970-01-01 00:01:46 UTC: not for 2 s in which nobody carried the rollout out "
        "(2 requests were on their way then)",
    )
    assert column.outage is not None
    assert column.outage.seconds == pytest.approx(0.1), "nobody knows of an outage while nothing is asked"


@pytest.mark.parametrize("idle", [(), (Window(104.5, 106.5),), (Window(103.0, 105.0),)], ids=["never", "later", "not so long"])
def test_what_was_not_asked_though_it_had_to_be_certifies_nothing(idle: tuple[Window, ...]) -> None:
    made = replace(recording([each for each in outcomes(100) if not 104.0 <= each.due < 106.0]), breaks=(ASLEEP,))
    column = probe_column(made, replace(SPAN, idle=idle))
    assert (column.is_whole, column.incomplete) == (False, ("nothing was asked for 2 s from 1970-01-01 00:01:44 UTC on",))


def test_requests_that_are_lacking_beside_such_a_time_certify_nothing() -> None:
    made = replace(recording([each for each in outcomes(100) if not 102.0 <= each.due < 106.0]), breaks=(ASLEEP,))
    column = probe_column(made, replace(SPAN, idle=(Window(103.0, 106.5),)))
    assert (column.is_whole, column.incomplete[0]) == (False, "55 requests were sent, 65 were due")


def slower(made: list[Outcome], since: float, seconds: float) -> list[Outcome]:
    return [each._replace(done=each.done + seconds) if each.due >= since else each for each in made]


def test_added_latency_is_against_what_was_before_anything_was_touched() -> None:
    column = probe_column(recording(slower(outcomes(100), 103.0, 0.020)), replace(SPAN, touched_at=103.0))
    assert column.baseline == Window(100.0, 103.0)
    assert column.compared_with == 30
    assert column.added is not None
    assert column.added.p50 == pytest.approx(0.020)
    told = "\n".join(probe_lines(replace(load("nothing_seen"), probe=column)))
    assert "against the 3.0 s before anything was touched (n = 30): p50 +20.0 ms" in told


def test_too_little_to_compare_with_is_no_comparison() -> None:
    column = probe_column(recording(outcomes(100)), replace(SPAN, touched_at=100.45))
    assert (column.added, column.compared_with) == (None, 5)
    told = "\n".join(probe_lines(replace(load("nothing_seen"), probe=column)))
    assert "added latency: not known, 5 requests were answered in the 0.5 s before anything was touched" in told


def test_what_ended_before_the_first_act_late_before_it_and_since_the_new_release_serves_alone_is_counted_apart() -> None:
    made = recording(outcomes(100, lost=range(5, 35)))
    column = probe_column(made, replace(SPAN, touched_at=102.0, alone_at=106.0))
    assert (column.sent, column.lost, column.sent_before, column.lost_before) == (100, 30, 20, 15)
    assert (column.late, column.alone) == (Count(10, 10), Count(40, 0))
    receipt = replace(load("rolling_nothing_lost"), probe=column)
    assert receipt.is_within_budget
    assert verdict(receipt) == (
        "certified, lost 30 of 100, 15 of them before anything was touched, when the service was failing already, more than the 0 allowed; "
        "not judged: the service was failing before; since the new release serves alone 0 of 40 were lost"
    )
    later = replace(receipt, probe=probe_column(made, replace(SPAN, touched_at=102.0, alone_at=103.0)))
    assert verdict(later).endswith("when the service was failing already, more than the 0 allowed")
    assert not later.is_within_budget


def answering(status: int, since: float, *, before: int = 200, follows: bool = True) -> Recording:
    changed = [each._replace(status=status if each.due >= since else before) for each in outcomes(100)]
    config = ProbeConfig(targets=(target(expected=tuple(range(200, 500)), follows_baseline=follows),))
    return Recording(config, tuple(changed), 0, 0, ended=True, last_seen=111.0)


@pytest.mark.parametrize(
    ("made", "touched_at", "lost"),
    [
        (answering(404, since=106.0), 103.0, 40),
        (answering(404, since=100.0), None, 100),
        (answering(401, since=100.0), 103.0, 0),
        (answering(403, since=106.0, before=401), 103.0, 0),
        (answering(302, since=106.0), 103.0, 0),
        (answering(200, since=106.0, before=404), 103.0, 0),
        (answering(404, since=106.0, follows=False), 103.0, 0),
    ],
    ids=["lost its route", "never had one", "always refused", "refused otherwise", "redirected", "got a route", "declared"],
)
def test_another_class_of_status_than_before_is_a_loss(made: Recording, touched_at: float | None, lost: int) -> None:
    column = probe_column(made, replace(SPAN, touched_at=touched_at))
    assert column.lost == lost
    assert {loss.kind for loss in column.losses} <= {LossKind.BAD_STATUS}


def test_what_was_not_measured_to_its_end_says_so_in_its_first_line() -> None:
    column = probe_column(recording(outcomes(50), ended=False, last_seen=105.0), SPAN)
    for name in ("interrupt_measured", "rolling_nothing_lost"):
        assert "(incomplete: not measured to its end)" in verdict(replace(load(name), probe=column))


def test_a_release_that_nobody_probed_says_so_first_in_capitals_and_no_gate_claims_a_pass() -> None:
    receipt = load("certified_without_a_probe")
    lines = render_text(receipt).splitlines()
    assert lines[0].endswith(", certified WITHOUT A PROBE: nothing shows whether requests were lost")
    assert lines[4].startswith("CERTIFIED WITHOUT A PROBE")
    assert lines[5] == "  not asked: the way in is not Manor's"
    assert [gate.verdict for gate in receipt.gates if gate.name == LOSSES] == ["not judged"]
    unasked = replace(receipt, probe=replace(receipt.probe, incomplete=()))
    assert "  the probe had no time to ask" in render_text(unasked)
    assert "WITHOUT A PROBE" not in render_text(replace(receipt, state="rolled_back"))


def test_a_receipt_from_before_says_nothing_of_what_was_not_kept() -> None:
    receipt = load("written_before_policies_were_kept")
    assert (receipt.drain_policy, receipt.burned, receipt.spared) == (None, "", "")
    assert "drain_policy" not in render_text(receipt)


@pytest.mark.parametrize("policy", ["extend", "cut", "abort"])
def test_the_drain_policy_is_in_every_receipt_with_what_it_means(policy: DrainPolicy) -> None:
    told = next(line for line in render_text(replace(load("nothing_seen"), drain_policy=policy)).splitlines() if "drain_policy" in line)
    assert told == f"  drain_policy  {policy}: {POLICIES[policy]}"


def test_all_losses_are_listed_when_they_are_asked_for() -> None:
    receipt = load("interrupt_measured")
    assert (len(receipt.probe.losses), render_text(receipt).count(" after 0.003 s")) == (61, 50)
    assert "and 11 more: --all-losses lists them, --json has them too" in render_text(receipt)
    whole = render_text(receipt, None)
    assert (whole.count(" after 0.003 s"), "more:" in whole) == (61, False)


def test_nothing_seen_is_not_within_any_budget() -> None:
    assert not load("nothing_seen").is_within_budget


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_only_what_a_rollout_can(case: Path) -> None:
    receipt = load(case.name)
    probe = receipt.probe
    assert receipt.state in ENDS.values()
    assert probe.is_whole or receipt.state != "certified"
    assert (probe.added is not None) == (probe.baseline is not None and probe.compared_with >= LEAST_COMPARED)
    assert {gate.name for gate in receipt.gates} <= JUDGED | {"tests", LOSSES, OUTAGE}
    assert not (receipt.burned and receipt.spared)
    assert {override.what for override in receipt.overrides} <= {AGAIN}
    assert receipt.approvers == ()
    assert {timing.name for timing in receipt.timings} <= {"probe_baseline", "min_healthy_time", "bake", "drain_timeout", "settle"}
    assert all(re.fullmatch(r"[\w-]+ shop/[ab]", drain.slot) for drain in receipt.drains)
