"""How tests of real tools are divided among workers: a file stays with one worker, and what takes longest begins first.

Invariant: only tests that share nothing with others of their file are divided one by one.
Source: https://pytest-xdist.readthedocs.io/en/stable/distribution.html
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ONE_BY_ONE = frozenset({"tests/pipeline/test_kill_native.py"})
"""Files of many tests, each with a state of its own."""
LONGEST_FIRST = (
    "tests/e2e/test_chains.py",
    "tests/e2e/test_kills.py",
    "tests/e2e/test_controller.py",
    "tests/cli/test_live.py",
    "tests/e2e/",  # any other
    "tests/web/test_git_push.py",
    "tests/integrations/proxies/",
    "tests/pipeline/test_warehouse_native.py",
    "tests/pipeline/test_engine_native.py",
    "tests/execution/test_detached.py",
)
"""Beginnings of paths; whatever is not named comes after them, and what is divided one by one comes last: it fills the gaps."""


class Dividing(LoadFileScheduling):  # type: ignore[misc]
    """xdist's own, but for the files that may be divided."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # xdist would begin with the files of the most tests

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """Return what a test is given to a worker with: its file, or itself."""
    file = nodeid.split("::", 1)[0]
    return nodeid if file in ONE_BY_ONE else file


def rank(nodeid: str) -> int:
    """Return when a test begins, among others: the lower, the earlier."""
    file = nodeid.split("::", 1)[0]
    if file in ONE_BY_ONE:
        return len(LONGEST_FIRST) + 1
    return next((number for number, beginning in enumerate(LONGEST_FIRST) if file.startswith(beginning)), len(LONGEST_FIRST))
