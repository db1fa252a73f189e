"""Every message about a wrong estate file, as a table of files: errors/<case>/estate.yaml and expected.txt."""

import datetime
from pathlib import Path

import pytest

from manor.errors import InvalidEstate
from manor.estate.load import load_estate
from tests.estate.products import OPTIONS, PRODUCTS

ERRORS = Path(__file__).parent / "errors"
TODAY = datetime.date(2026, 11, 28)
CASES = sorted(path.parent for path in ERRORS.glob("*/estate.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_message(case: Path, update_golden: bool) -> None:
    with pytest.raises(InvalidEstate) as error:
        load_estate(case / "estate.yaml", PRODUCTS, OPTIONS, TODAY)
    told = str(error.value).replace(str(case), "<folder>") + "\n"
    if update_golden:
        (case / "expected.txt").write_text(told)
    assert told == (case / "expected.txt").read_text()


def test_every_problem_says_what_to_do() -> None:
    for case in CASES:
        for line in (case / "expected.txt").read_text().splitlines():
            assert "; " in line, line
            assert line.startswith(("estate.yaml:", "estate.d/")), line
