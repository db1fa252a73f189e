"""Lost requests are held against a rollout only as far as they are its doing (docs/receipt.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.rollout.losses import Count, Losses, SoFar

ALREADY = "when the service was failing already"
FAILING = Losses(920, 40, 80, 33, Count(40, 16), Count(300, 0))


@pytest.mark.parametrize(
    ("losses", "budget", "verdict", "told"),
    [
        (Losses(100, 0), 0, "pass", "lost 0 of 100"),
        (Losses(100, 1), 0, "fail", "lost 1 of 100"),
        (Losses(100, 1), 1, "pass", "lost 1 of 100"),
        (Losses(95, 33, 33, 33, Count(16, 16)), 0, "pass", f"lost 33 of 95, all of them before anything was touched, {ALREADY}"),
        (Losses(95, 40, 33, 33, Count(16, 16), Count(40, 0)), 0, "not judged", f"lost 40 of 95, 33 of them before anything was touched, {ALREADY}"),
        (Losses(95, 40, 33, 33, Count(16, 16), Count(40, 1)), 0, "fail", f"lost 40 of 95, 33 of them before anything was touched, {ALREADY}"),
        (Losses(95, 40, 33, 33, Count(16, 16), Count(40, 1)), 1, "not judged", f"lost 40 of 95, 33 of them before anything was touched, {ALREADY}"),
        (Losses(95, 40, 33, 33, Count(16, 16)), 0, "inconclusive", f"lost 40 of 95, 33 of them before anything was touched, {ALREADY}"),
        (Losses(66, 66, 33, 33, Count(16, 16), Count(9, 9)), 0, "fail", f"lost 66 of 66, 33 of them before anything was touched, {ALREADY}"),
        (Losses(200, 3, 100, 0, Count(50, 0), Count(50, 0)), 0, "fail", "lost 3 of 200"),
        (Losses(200, 3, 100, 2, Count(50, 2), Count(50, 0)), 0, "not judged", "lost 3 of 200, 2 of them before anything was touched"),
        (Losses(200, 2, 100, 2), 0, "pass", "lost 2 of 200, all of them before anything was touched"),
        (Losses(200, 4, 100, 2, Count(50, 2), Count(50, 1)), 0, "fail", "lost 4 of 200, 2 of them before anything was touched"),
        (Losses(500, 20, 300, 9, Count(150, 5), Count(100, 0)), 0, "not judged", "lost 20 of 500, 9 of them before anything was touched"),
        (Losses(500, 80, 300, 1, Count(150, 1), Count(100, 0)), 0, "inconclusive", "lost 80 of 500, 1 of them before anything was touched"),
        (Losses(200, 11, 40, 4, Count(20, 4), Count(50, 0)), 0, "not judged", "lost 11 of 200, 4 of them before anything was touched"),
        (Losses(1000, 200, 100, 25), 0, "inconclusive", "lost 200 of 1,000, 25 of them before anything was touched"),
        (Losses(1000, 200, 100, 25, Count(50, 1), Count(300, 0)), 0, "not judged", "lost 200 of 1,000, 25 of them before anything was touched"),
        (Losses(1000, 200, 100, 25, Count(50, 4), Count(300, 0)), 0, "not judged", "lost 200 of 1,000, 25 of them before anything was touched"),
    ],
    ids=[
        "none",
        "one",
        "allowed",
        "all before",
        "mended",
        "mended all but one",
        "within the budget",
        "seen nothing alone",
        "not mended",
        "none before, and some later",
        "some before",
        "few and all before",
        "some before, and some alone",
        "one of 33 before",
        "far more than before",
        "few before, and as many since",
        "nothing to know of it alone",
        "a blip at the beginning",
        "too small a share at the end",
    ],
)
def test_losses(losses: Losses, budget: int, verdict: str, told: str) -> None:
    assert losses.verdict(budget) == verdict
    assert losses.is_within(budget) is (verdict in {"pass", "not judged"})
    assert str(losses) == told


def test_what_is_not_held_against_a_release_is_told_with_its_numbers() -> None:
    assert FAILING.verdict(0) == "not judged"
    assert FAILING.why == "the service was failing before; since the new release serves alone 0 of 300 were lost"


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        (Losses(500, 20, 20, 0, Count(10, 0), Count(100, 0)), "not judged"),
        (Losses(500, 20, 300, 9, Count(150, 5), Count(100, 0)), "not judged"),
        (Losses(66, 66, 33, 33, Count(16, 16)), "not judged"),
        (Losses(500, 20, 20, 0, Count(10, 0), Count(100, 1)), "fail"),
        (Losses(500, 0), "pass"),
    ],
    ids=["nothing in the baseline", "some in the baseline", "nothing seen alone", "lost alone", "nothing lost"],
)
def test_a_return_is_judged_by_what_it_returns_to_alone(losses: Losses, verdict: str) -> None:
    back = replace(losses, is_return=True)
    assert (back.verdict(0), back.is_within(0)) == (verdict, verdict != "fail")
    assert back.why.startswith("a return is judged by what it returns to; since that serves alone ")


@pytest.mark.parametrize(
    ("alone", "verdict"),
    [(Count(), "inconclusive"), (Count(1, 0), "inconclusive"), (Count(4, 0), "inconclusive"), (Count(5, 0), "not judged"), (Count(1, 1), "fail")],
    ids=str,
)
@pytest.mark.parametrize("before", [Count(5, 5), Count(20, 1)], ids=["failing", "one lost"])
def test_too_few_requests_alone_show_nothing(before: Count, alone: Count, verdict: str) -> None:
    losses = Losses(before.sent + 2 + alone.sent, before.lost + 1 + alone.lost, before.sent, before.lost, before, alone)
    assert losses.verdict(0) == verdict
    assert (", too few to tell (5 at the least); a longer `bake` or a higher rate of the `probe` asks more" in losses.why) is (alone.sent < 5)
    assert replace(losses, is_return=True).verdict(0) == ("fail" if alone.lost else "not judged")


def test_what_was_lost_before_by_now_and_then_one_excuses_no_flood() -> None:
    assert Losses(500, 80, 300, 1, Count(150, 1), Count(100, 0)).why == (
        "requests were lost before too, but 79 of 100 from the first act on are far more than 1 of 300; since the new release serves alone 0 of 100 were lost"
    )
    assert Losses(500, 20, 300, 9, Count(150, 5), Count(100, 0)).why == ("requests were lost before too; since the new release serves alone 0 of 100 were lost")


@pytest.mark.parametrize(
    ("seen", "is_doubtful"),
    [
        (SoFar(), False),
        (SoFar(Count(20, 0), Count(10, 0), 3), False),
        (SoFar(Count(20, 1), Count(10, 0)), True),
        (SoFar(Count(2, 0), Count(1, 0), 18), True),
        (SoFar(Count(20, 20), Count(10, 10)), False),
        (SoFar(Count(20, 8), Count(10, 0)), True),
    ],
    ids=["nothing asked", "works", "one lost", "hangs", "fails", "a blip"],
)
def test_who_asks_goes_on_until_it_is_known_whether_the_service_is_failing(seen: SoFar, is_doubtful: bool) -> None:
    assert seen.is_doubtful is is_doubtful
