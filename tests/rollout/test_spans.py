"""What a probe had to cover is read from the journal, whatever it recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.observe.window import Window
from manor.operations.step import adapter
from manor.rollout.framing import Bake
from manor.rollout.spans import ProbeSpan, probe_span
from manor.state.journal import JournalRow, StepRow
from manor.state.operations import Pause
from manor.state.words import JournalEvent, Outcome

PLAN = ("preflight", "start-probe", "place", "start", "warm", "admit", "drain", "stop", "bake", "stop-probe", "certify", "withhold")


def journal(*begun: tuple[str, float, float | None]) -> tuple[list[StepRow], list[JournalRow]]:
    """Return steps and lines: kind, intent and done; a kind named twice was begun twice."""
    rows: dict[str, StepRow] = {}
    lines: list[JournalRow] = []
    for kind, intent, done in begun:
        seq = PLAN.index(kind)
        lines.append(JournalRow(len(lines), "o", seq, 1, JournalEvent.INTENT, 1, intent, None, ""))
        rows[kind] = StepRow(
            "o",
            seq,
            int(kind == "withhold"),
            seq,
            kind,
            kind,
            1,
            "",
            "{}",
            kind,
            "",
            "",
            "",
            300.0,
            1,
            None,
            intent,
            done,
            Outcome.OK if done else Outcome.PENDING,
            "",
        )
    return list(rows.values()), lines


def test_from_the_first_request_to_the_word_to_end() -> None:
    whole = journal(("preflight", 1, 2), ("start-probe", 3, 4), ("place", 5, 6), ("admit", 7, 8), ("drain", 9, 10), ("stop-probe", 20, 21))
    assert probe_span(*whole, until=30.0) == ProbeSpan(Window(4.0, 20.0), touched_at=5.0, alone_at=10.0)


def test_what_was_never_told_to_end_lasts_as_long_as_the_operation() -> None:
    assert probe_span(*journal(("start-probe", 3, 4), ("drain", 9, None)), until=30.0) == ProbeSpan(Window(4.0, 30.0), touched_at=9.0)


def test_steps_that_were_begun_again_count_from_the_first_time() -> None:
    killed = journal(("start-probe", 3, 4), ("drain", 9, None), ("drain", 40, 41), ("stop-probe", 50, None), ("stop-probe", 90, 91))
    assert probe_span(*killed, until=99.0) == ProbeSpan(Window(4.0, 50.0), touched_at=9.0, alone_at=41.0)


def test_a_first_release_is_probed_after_it_was_admitted() -> None:
    assert probe_span(*journal(("admit", 1, 2), ("start-probe", 3, 4), ("stop-probe", 5, 6)), until=9.0) == ProbeSpan(Window(4.0, 5.0), alone_at=2.0)


def test_what_is_moved_after_its_end_was_not_probed() -> None:
    rows, lines = journal(("start-probe", 3, 4), ("admit", 7, 8), ("stop-probe", 20, 21), ("drain", 22, 23))
    assert probe_span(rows, lines, until=30.0) == ProbeSpan(Window(4.0, 20.0), touched_at=7.0, alone_at=23.0, was_moved_later=True)


@pytest.mark.parametrize("kind", ["place", "start", "admit", "drain", "stop"])
def test_what_came_before_the_first_act_on_a_host_is_the_baseline(kind: str) -> None:
    """A program that is placed or started can starve the one beside it."""
    span = probe_span(*journal(("start-probe", 3, 4), (kind, 5, 6), ("warm", 7, 8), ("stop-probe", 20, 21)), until=30.0)
    assert span is not None
    assert span.touched_at == 5.0


def test_a_first_release_has_nothing_before_on_its_way_back_either() -> None:
    span = probe_span(*journal(("place", 0, 1), ("admit", 1, 2), ("start-probe", 3, 4), ("withhold", 7, 8), ("stop-probe", 9, 10)), until=30.0)
    assert span == ProbeSpan(Window(4.0, 9.0))


def test_a_way_back_that_began_before_the_probe_ended_leaves_nothing_to_the_new_release_alone() -> None:
    span = probe_span(*journal(("start-probe", 3, 4), ("place", 5, 6), ("admit", 7, 8), ("withhold", 9, 10), ("stop-probe", 20, 21)), until=30.0)
    assert span == ProbeSpan(Window(4.0, 20.0), touched_at=5.0)


def test_a_probe_that_never_began_had_nothing_to_cover() -> None:
    assert probe_span(*journal(("preflight", 1, 2)), until=9.0) is None


def begun_again(outcome: Outcome = Outcome.OK) -> tuple[list[StepRow], list[JournalRow]]:
    """Return a rollout whose bake was begun at 10 and at 500, and watched for 30 s."""
    rows, lines = journal(("start-probe", 3, 4), ("place", 5, 6), ("admit", 7, 8), ("bake", 10, None), ("bake", 500, 535), ("stop-probe", 536, 537))
    bake = Bake("echo", "new", seconds=30.0)
    payload = adapter(Bake).dump_json(bake).decode()
    return [replace(row, attempt=2, payload=payload, outcome=outcome) if row.kind == "bake" else row for row in rows], lines


def test_a_bake_that_begins_anew_has_to_be_probed_from_its_last_beginning_on() -> None:
    span = probe_span(*begun_again(), until=600.0)
    assert span is not None
    assert (span.window, span.idle) == (Window(4.0, 536.0), (Window(10.0, 505.0),))
    assert span.parts == (Window(4.0, 10.0), Window(505.0, 536.0))


def test_a_bake_that_begins_anew_and_fails_claims_nothing() -> None:
    span = probe_span(*begun_again(Outcome.FAILED), until=600.0)
    assert span is not None
    assert span.parts == (Window(4.0, 10.0), Window(535.0, 536.0))


@pytest.mark.parametrize(
    ("begin", "end", "may"),
    [(10, 505, True), (11, 400, True), (9, 400, False), (11, 506, False), (1, 4, True), (1, 5, False), (510, 511, False)],
)
def test_nothing_has_to_be_asked_before_its_time_and_while_nobody_carries_the_rollout_out(begin: float, end: float, may: bool) -> None:
    span = probe_span(*begun_again(), until=600.0)
    assert span is not None
    assert span.may_lack(begin, end) is may


def test_a_pause_lasts_until_something_is_about_to_be_done_again() -> None:
    rows, lines = journal(("start-probe", 3, 4), ("admit", 7, 8), ("drain", 9, None), ("drain", 105, 106), ("stop-probe", 120, 121))
    span = probe_span(rows, lines, 130.0, [Pause(10.0, 100.0), Pause(20.0, 30.0)])
    assert span is not None
    assert (span.idle, span.parts) == ((Window(10.0, 105.0),), (Window(4.0, 10.0), Window(105.0, 120.0)))


BEFORE, DURING, AFTER = Window(1.0, 3.0), Window(10.0, 12.0), Window(25.0, 26.0)
BEGINNING, ENDING = Window(3.0, 6.0), Window(18.0, 22.0)


@pytest.mark.parametrize(
    ("idle", "parts"),
    [
        ((), [(4, 20)]),
        ((BEFORE,), [(4, 20)]),
        ((Window(0.0, 0.5), BEFORE, DURING), [(4, 10), (12, 20)]),
        ((BEGINNING,), [(6, 20)]),
        ((ENDING, AFTER), [(4, 18)]),
        ((Window(4.0, 20.0),), []),
        ((Window(1.0, 4.0), Window(20.0, 21.0)), [(4, 20)]),
    ],
    ids=["none", "before", "before-and-during", "at-the-beginning", "at-the-end-and-after", "all-the-time", "right-before-and-right-after"],
)
def test_only_what_lies_within_the_span_is_left_out_of_it(idle: tuple[Window, ...], parts: list[tuple[float, float]]) -> None:
    assert list(ProbeSpan(Window(4.0, 20.0), idle=idle).parts) == parts


def test_a_pause_before_the_probe_began_asks_nothing_of_it() -> None:
    rows, lines = journal(("preflight", 1, 2), ("start-probe", 103, 106), ("admit", 107, 108), ("stop-probe", 120, 121))
    span = probe_span(rows, lines, 130.0, [Pause(2.0, 100.0)])
    assert span is not None
    assert (span.window, span.parts) == (Window(106.0, 120.0), (Window(106.0, 120.0),))
