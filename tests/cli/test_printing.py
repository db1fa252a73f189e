"""Lines that a person reads while something goes on, and at its end."""

from __future__ import annotations

import pytest

from manor.cli.terminal.printing import columns
from manor.operations.events import Event, What
from manor.workflows.delivery import Delivered, line_of

LINES = [
    (Event(What.STARTED, 0.0, "op", "apply prod", host="prod"), "prod            started      apply prod"),
    (
        Event(What.DONE, 0.0, "op", "2-web-nginx: nginx accepts it", 1, "prod/web-1", "check", 0.12),
        "prod/web-1      check        2-web-nginx: nginx accepts it  in 0.1 s",
    ),
    (Event(What.SAID, 0.0, "op", "/ answers 502, not 200", 1, "prod/web-1", "warm"), "prod/web-1      warm         / answers 502, not 200"),
    (Event(What.FAILED, 0.0, "op", "its time was up", 1, "prod/web-1", "warm", 5.0), "prod/web-1      warm         failed: its time was up  in 5.0 s"),
    (Event(What.ENDED, 0.0, "op", "reverted: step 5 failed: a long story", host="prod"), "prod            ended        reverted"),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=[str(event.what) for event, _ in LINES])
def test_lines_stand_in_columns(event: Event, line: str) -> None:
    assert columns(event) == line


def test_a_rollout_ends_with_what_its_receipt_says() -> None:
    done = Delivered("prod", "0123456789ab", "op", verdict="certified, not probed: nothing shows whether requests were lost")
    assert line_of(done) == "prod       0123456789ab   certified, not probed: nothing shows whether requests were lost · `manor receipt op`"


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
