"""Lines that a person reads while something goes on, and at its end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from manor.cli.terminal.plans import plan_lines, plan_object
from manor.cli.terminal.printing import columns, printer
from manor.operations.events import Event, What
from manor.reconcile.plan import Action, Change, Plan
from manor.workflows.delivery import Delivered, line_of, summary_lines

LINES = [
    (Event(What.STARTED, 0.0, "op", "apply prod", host="prod"), "prod            started      apply prod"),
    (
        Event(What.DONE, 0.0, "op", "2-web-nginx: nginx accepts it", 1, "prod/web-1", "check", 0.12),
        "prod/web-1      check        2-web-nginx: nginx accepts it  in 0.1 s",
    ),
    (Event(What.SAID, 0.0, "op", "/ answers 502, not 200", 1, "prod/web-1", "warm"), "prod/web-1      warm         / answers 502, not 200"),
    (Event(What.FAILED, 0.0, "op", "its time was up", 1, "prod/web-1", "warm", 5.0), "prod/web-1      warm         failed: its time was up  in 5.0 s"),
    (Event(What.ENDED, 0.0, "op", "reverted: step 5 failed: a long story", host="prod"), "prod            ended        reverted"),
    (
        Event(What.ENDED, 0.0, "op", "reverted: why", host="prod", hosts={"web-1": "ok", "web-2": "failed", "web-3": "skipped"}),
        "prod            ended        reverted · web-2 failed, web-3 skipped",
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=[str(event.what) for event, _ in LINES])
def test_lines_stand_in_columns(event: Event, line: str) -> None:
    assert columns(event) == line


def test_a_rollout_ends_with_what_its_receipt_says() -> None:
    done = Delivered("prod", "0123456789ab", "op", verdict="certified WITHOUT A PROBE: nothing shows whether requests were lost")
    assert line_of(done) == "prod       0123456789ab   certified WITHOUT A PROBE: nothing shows whether requests were lost · `manor receipt op`"


def test_the_last_line_says_where_nobody_probed() -> None:
    unproven = Delivered("dev", "0123456789ab", "op", is_probed=False, verdict="certified WITHOUT A PROBE: nothing shows whether requests were lost")
    waiting = Delivered("prod", "", "", note="waits for `manor promote shop --to prod`")
    assert summary_lines([unproven, waiting])[-1].endswith("--to prod` · dev: certified WITHOUT A PROBE")
    assert summary_lines([unproven]) == [line_of(unproven)]
    assert summary_lines([replace(unproven, is_probed=True), waiting]) == [line_of(replace(unproven, is_probed=True)), line_of(waiting)]
    assert summary_lines([replace(unproven, is_probed=None), waiting])[-1] == line_of(waiting)
    assert summary_lines([]) == []


def test_what_did_not_go_on_says_why() -> None:
    assert line_of(Delivered("prod", "", "", note="waits for `manor promote shop --to prod`")).split() == [
        "prod",
        "waits",
        "for",
        "`manor",
        "promote",
        "shop",
        "--to",
        "prod`",
    ]


def test_a_program_is_told_how_hosts_came_off_at_the_end_and_nothing_of_them_before(capsys: pytest.CaptureFixture[str]) -> None:
    tell = printer(as_json=True)
    tell(Event(What.DONE, 1.0, "op", "done", 1, "web-1", "check"))
    tell(Event(What.PAUSED, 2.0, "op", "paused: why", hosts={"web-1": "ok", "web-2": "pending"}))
    step, end = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert "hosts" not in step
    assert (end["event"], end["hosts"]) == ("paused", {"web-1": "ok", "web-2": "pending"})


def test_a_plan_tells_what_it_risks() -> None:
    plan = Plan("prod", "d", (Change("edge-1", "host", Action.REPLACE, "x"),), hash="4a3a6c548d28", risks=("services.shop.health has changed",))
    lines = list(plan_lines(plan, with_diff=False))
    assert lines[2] == "\x1b[33m  risk: services.shop.health has changed (docs/apply.md)\x1b[0m"
    assert plan_object(plan)["risks"] == ["services.shop.health has changed"]
