"""A forked verb says and does what one that is started anew does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate, wait_until
from tests.e2e.faulty import ESTATE
from tests.e2e.forked import forker


@pytest.mark.parametrize(
    "words", [["--help"], ["ship", "--help"], ["schema"], ["stats"], ["ship"], ["check", "--offline"], ["render", "--json"], ["status", "--json"]], ids=" ".join
)
def test_it_ends_as_one_that_is_started_anew(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text("estate: shop\ndomain: shop.example\nservices: {shop: {}}\n")
    anew = subprocess.run([sys.executable, "-m", "manor", *words], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    forked = forker().run(words, tmp_path, os.environ, 30)
    assert (forked.returncode, forked.stdout, forked.stderr) == (anew.returncode, anew.stdout, anew.stderr)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_one_that_takes_too_long_is_killed(make_estate: Callable[[str], LiveEstate]) -> None:
    estate = make_estate(ESTATE)
    with pytest.raises(subprocess.TimeoutExpired):
        estate.run("serve", timeout=3)
    wait_until(lambda: not children_of(forker().process.pid), 10, "it is gone")
