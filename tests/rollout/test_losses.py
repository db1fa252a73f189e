"""Lost requests are held against a rollout only as far as they are its doing (docs/receipt.md)."""

from __future__ import annotations

import pytest

from manor.rollout.losses import Losses


@pytest.mark.parametrize(
    ("losses", "budget", "is_within", "told"),
    [
        (Losses(100, 0), 0, True, "lost 0 of 100"),
        (Losses(100, 1), 0, False, "lost 1 of 100"),
        (Losses(100, 1), 1, True, "lost 1 of 100"),
        (Losses(95, 33, 33, 33), 0, True, "lost 33 of 95, all of them before anything was moved, when the service was failing already"),
        (Losses(95, 40, 33, 33), 0, True, "lost 40 of 95, 33 of them before anything was moved, when the service was failing already"),
        (Losses(66, 66, 33, 33), 0, False, "lost 66 of 66, 33 of them before anything was moved, when the service was failing already"),
        (Losses(200, 3, 100, 2), 0, False, "lost 3 of 200, 2 of them before anything was moved"),
        (Losses(200, 2, 100, 2), 0, True, "lost 2 of 200, all of them before anything was moved"),
        (Losses(200, 11, 40, 4), 0, False, "lost 11 of 200, 4 of them before anything was moved"),
        (Losses(200, 30, 100, 10), 0, False, "lost 30 of 200, 10 of them before anything was moved, when the service was failing already"),
    ],
)
def test_losses(losses: Losses, budget: int, is_within: bool, told: str) -> None:
    assert losses.is_within(budget) is is_within
    assert str(losses) == told
