"""docs/reference.md is what the models say, and every rule's page is there."""

from pathlib import Path

from manor.estate.reference import not_yet_lines, render_reference

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_reference_is_fresh(update_golden: bool) -> None:
    if update_golden:
        PAGE.write_text(render_reference())
    assert PAGE.read_text() == render_reference(), "run `make docs`"


def test_what_is_not_supported_yet_is_listed() -> None:
    assert "services.<name>.rollout.strategy: blue_green, canary" in not_yet_lines()
    assert all(f"- `{line}`" in render_reference() for line in not_yet_lines())


def test_a_default_that_depends_on_the_route_is_in_its_column() -> None:
    page = render_reference()
    assert "| `timeout` | duration, 0s to 1d | `30s / 60s` | how long it may take before it is killed" in page
    assert "| `drain_timeout` | duration, 0s to 1d | `30s / 10m / 60s` |" in page
