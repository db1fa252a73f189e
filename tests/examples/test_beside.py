"""The example of one service beside everything else: it loads, and its parts are those that its page speaks of."""

from __future__ import annotations

from pathlib import Path

from manor.estate.load import load_estate

FOLDER = Path(__file__).parents[2] / "examples" / "beside"


def test_it_loads_and_both_tiers_are_parts_of_what_is_there() -> None:
    (environment,) = load_estate(FOLDER / "estate.yaml").environments.values()
    assert [rule.manage for rule in environment.traffic.chain] == ["include", "include"]
    text = (FOLDER / "README.md").read_text()
    assert all(str(place) in text for rule in environment.traffic.chain for place in (rule.pid, rule.socket) if place and "nginx" not in str(place))
