"""The journal tells of every step what must hold before, what holds after, and what takes it back (docs/operations.md, steps)."""

from __future__ import annotations

import pytest

from manor.operations.step import Planned, StepKinds
from tests.workflows.test_untouchable import BY_KIND, CASES, every_kind

RELEASE = "0123456789ab"
STEPS = {kind: case.make(RELEASE) for kind, case in BY_KIND.items()}


def test_every_kind_is_told_here() -> None:
    assert set(STEPS) == set(every_kind())
    assert len(CASES) == len(STEPS)


@pytest.mark.parametrize("kind", sorted(STEPS))
def test_a_row_says_what_holds_before_and_after_and_what_takes_it_back(kind: str) -> None:
    step = STEPS[kind]
    row = StepKinds([type(step)]).encode(Planned(0, step))
    texts = {"text": row.text, "precondition": row.precondition, "postcondition": row.postcondition, "compensation": row.compensation}
    assert {name for name, told in texts.items() if not told.strip()} == set()
    assert row.precondition != row.postcondition
    assert len(set(texts.values())) == len(texts)
