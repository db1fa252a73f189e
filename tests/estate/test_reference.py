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
