"""What a pipeline file means, and what is said of a wrong one: errors/<case>/pipeline.yaml and expected.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.errors import InvalidEstate
from manor.pipeline.definition import FILE, load_pipeline, parse_pipeline

ERRORS = Path(__file__).parent / "errors"
CASES = sorted(path.parent for path in ERRORS.glob("*/pipeline.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_message(case: Path, update_golden: bool) -> None:
    with pytest.raises(InvalidEstate) as error:
        parse_pipeline((case / "pipeline.yaml").read_text())
    told = f"{error.value}\n"
    if update_golden:
        (case / "expected.txt").write_text(told)
    assert told == (case / "expected.txt").read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_problem_says_where_and_what_to_do(case: Path) -> None:
    for line in (case / "expected.txt").read_text().splitlines():
        assert line.startswith(f"{FILE}:")
        assert "; " in line


def test_each_step_needs_the_one_before_unless_it_says_otherwise() -> None:
    pipeline = parse_pipeline("""
        steps:
          test: {test: make test, junit: "*.xml", needs: [build]}
          lint: {run: make lint, needs: []}
          build: {run: make}
          pack: {artifact: {}, needs: [test, lint]}
    """)
    assert list(pipeline.steps) == ["lint", "build", "test", "pack"]
    assert {name: step.needs for name, step in pipeline.steps.items()} == {"lint": (), "build": ("lint",), "test": ("build",), "pack": ("test", "lint")}
    assert pipeline.before("pack") == ("lint", "build", "test")
    assert pipeline.after("build") == ("test", "pack")


def test_the_defaults() -> None:
    pipeline = parse_pipeline("steps: {build: {run: make}, pack: {artifact: {}}}")
    build, pack = pipeline.steps.values()
    assert (pipeline.service, pipeline.timeout, build.timeout, build.commands) == (None, 3600.0, 600.0, ("make",))
    assert pack.artifact is not None
    assert (pack.artifact.include, pack.artifact.folder, pack.artifact.platform) == (("**",), None, None)


def test_a_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".manor").mkdir()
    (tmp_path / FILE).symlink_to("/etc/passwd")
    with pytest.raises(InvalidEstate, match="is not there as a file"):
        load_pipeline(tmp_path)


def test_what_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / ".manor").mkdir()
    (tmp_path / FILE).write_bytes(b"steps: \xff")
    with pytest.raises(InvalidEstate, match=r"pipeline\.yaml:1: not UTF-8"):
        load_pipeline(tmp_path)
