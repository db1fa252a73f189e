"""What the ledger makes of refs."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.execution.values import HostPath
from manor.integrations.repositories.base import RepositoryRules, Source
from manor.registry import product
from manor.state import runs
from manor.state.store import Store
from manor.workflows.ledger import Move, Watched, commits_since, compare, is_delivered, record

MAIN = "refs/heads/main"
A, B, C, D = (letter * 40 for letter in "abcd")


@pytest.mark.parametrize(
    ("refs", "ledger", "moves"),
    [
        ({}, {}, []),
        ({MAIN: A}, {MAIN: A}, []),
        ({MAIN: A}, {}, [Move(MAIN, None, A)]),
        ({MAIN: B}, {MAIN: A}, [Move(MAIN, A, B)]),
        ({}, {MAIN: A}, [Move(MAIN, A, None)]),
        ({"refs/heads/z": A, "refs/heads/b": B}, {MAIN: C}, [Move("refs/heads/b", None, B), Move(MAIN, C, None), Move("refs/heads/z", None, A)]),
    ],
)
def test_compare(refs: dict[str, str], ledger: dict[str, str], moves: list[Move]) -> None:
    assert list(compare(refs, ledger)) == moves


@pytest.mark.parametrize(
    ("history", "move", "commits"),
    [
        ([A, B], Move(MAIN, A, B), [B]),
        ([A, B, C], Move(MAIN, A, C), [B, C]),
        ([A], Move(MAIN, None, A), [A]),
        ([A, B], Move(MAIN, None, B), [A, B]),
        ([], Move(MAIN, A, B), [B]),
        ([C], Move(MAIN, A, C), [C]),
        ([A, B], Move(MAIN, A, C), [B, C]),
        ([A, B, A, C], Move(MAIN, A, C), [C]),
        ([A, B, C, B, D], Move(MAIN, A, D), [B, C, D]),
        ([A, B], Move(MAIN, B, None), []),
        (["0" * 40, A], Move(MAIN, None, A), [A]),
    ],
)
def test_commits_that_a_branch_passed(history: list[str], move: Move, commits: list[str]) -> None:
    assert list(commits_since(history, move)) == commits


@pytest.mark.parametrize(
    ("ref", "delivered"), [(MAIN, True), ("refs/heads/release/1", True), ("refs/heads/mainly", False), ("refs/tags/main", False), ("refs/heads/feature", False)]
)
def test_delivered(ref: str, delivered: bool) -> None:
    assert is_delivered(ref, RepositoryRules(delivered=("main", "release/*"))) is delivered


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(Source("shop", HostPath(tmp_path)), product("repositories", "hosted"), RepositoryRules())


def test_a_comparison_is_recorded_once_however_often_it_is_repeated(tmp_path: Path, watched: Watched) -> None:
    with Store.open(tmp_path) as store:
        passed = [(Move(MAIN, None, B), (A, B)), (Move("refs/heads/side", None, C), ())]
        for at in (1.0, 2.0):
            store.write_now(record, watched, passed, "ann", at)
        assert {run.commit for run in store.read_now(runs.recent, "shop")} == {A, B}
        assert {(row.ref, row.commit, bool(row.run)) for row in store.read_now(runs.ledger, "shop")} == {(MAIN, B, True), ("refs/heads/side", C, False)}


def test_a_branch_that_vanished_is_forgotten_and_its_runs_stay(tmp_path: Path, watched: Watched) -> None:
    with Store.open(tmp_path) as store:
        store.write_now(record, watched, [(Move(MAIN, None, A), (A,))], "ann", 1.0)
        store.write_now(record, watched, [(Move(MAIN, A, None), ())], "ann", 2.0)
        assert store.read_now(runs.ledger, "shop") == ()
        assert len(store.read_now(runs.recent, "shop")) == 1
