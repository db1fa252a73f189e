"""What single steps say: in whole words, and in the singular for one."""

from __future__ import annotations

import pytest

from manor.estate.units import counted
from manor.observe.probe.model import Lane, Loss, LossKind
from manor.rollout.framing import Bake
from manor.rollout.slots import WarmSlot, Warmth
from manor.workflows.probing import loss_line


@pytest.mark.parametrize(("count", "words"), [(0, "0 hosts"), (1, "1 host"), (2, "2 hosts")])
def test_counts(count: int, words: str) -> None:
    assert counted(count, "host") == words


@pytest.mark.parametrize(("seconds", "text"), [(10.0, "shop/a must stay healthy 10 s"), (0.0, "shop/a must be healthy; health passes only")])
def test_how_long_a_slot_must_stay_healthy(seconds: float, text: str) -> None:
    assert WarmSlot("shop", "web-1", "a", "r", 3, seconds, 1.0, 60.0).text == text


@pytest.mark.parametrize(("seconds", "text"), [(60.0, "shop r: is watched for 60 s"), (0.0, "shop r: health passes only")])
def test_how_long_a_rollout_is_watched(seconds: float, text: str) -> None:
    assert Bake("shop", "r", seconds, (), 60.0).text == text


def test_one_balancer_is_one() -> None:
    assert str(Warmth(1.0, 3, 1)) == "healthy here and on 1 balancer"


def test_a_lost_request_is_told_in_the_words_of_the_receipt() -> None:
    assert loss_line(Loss("GET /", Lane.NEW, 0.0, 0.5, 500, LossKind.BAD_STATUS)) == "00:00:00.000 GET / unexpected status 500 after 0.50 s (new connection)"
