"""Receipts as people and programs read them: cases of JSON in, text out; and how a recording becomes the first column."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.errors import ManorError
from manor.observe.probe import Lane, LossKind, Outcome, ProbeConfig, Recording, Target
from manor.observe.window import Window
from manor.rollout.receipt import Receipt, parse_receipt, probe_column, render_json
from manor.rollout.receipt_text import render_text

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())
WINDOW = Window(100.0, 110.0)


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


def target(rate: float = 10.0) -> Target:
    return Target(name="health", address="127.0.0.1", port=8443, host="shop.localhost", rate=rate)


def recording(outcomes: list[Outcome], *, ended: bool = True, in_flight: int = 0, unsent: int = 0, last_seen: float = 111.0) -> Recording:
    return Recording(ProbeConfig(targets=(target(),)), tuple(outcomes), unsent, in_flight, ended, last_seen)


def outcomes(count: int, lost: range = range(0)) -> list[Outcome]:
    return [
        Outcome(0, Lane.NEW, 100 + number / 10, 100 + number / 10, 100.01 + number / 10, 0, LossKind.REFUSED if number in lost else None)
        for number in range(count)
    ]


def test_a_whole_recording_has_a_bound_and_no_gaps() -> None:
    column = probe_column(recording(outcomes(100)), WINDOW)
    assert (column.sent, column.lost, column.bound, column.incomplete, column.outage) == (100, 0, 0.03, (), None)


def test_losses_have_an_outage_and_no_bound() -> None:
    column = probe_column(recording(outcomes(100, lost=range(20, 35))), WINDOW)
    assert (column.lost, column.bound) == (15, None)
    assert column.outage is not None
    assert (column.outage.begin, column.outage.seconds) == pytest.approx((102.0, 1.5))


def test_an_outage_that_does_not_end_lasts_to_the_end() -> None:
    column = probe_column(recording(outcomes(100, lost=range(90, 100))), WINDOW)
    assert column.outage is not None
    assert column.outage.seconds == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("made", "gap"),
    [
        (recording(outcomes(50), ended=False, in_flight=2, last_seen=105.0), "it ended 5 s before the rollout, with 2 requests on their way"),
        (recording(outcomes(100), ended=False, in_flight=2), "it was not stopped in order; what became of 2 requests is not known"),
        (recording(outcomes(90), unsent=10), "10 requests could not be sent: this machine was out of files, ports or memory"),
        (recording(outcomes(80)), "80 requests were sent, 100 were due"),
    ],
)
def test_a_recording_with_gaps_says_so(made: Recording, gap: str) -> None:
    assert probe_column(made, WINDOW).incomplete == (gap,)


def test_nothing_seen_is_not_within_any_budget() -> None:
    assert not load("nothing_seen").is_within_budget
