"""The refs decide: each new commit of a delivered branch becomes a run, exactly once (docs/git.md).

Invariant: `compare` is pure; a comparison's runs and refs are written in one durable transaction, so it may be killed anywhere and repeated.
Invariant: a commit that a branch stood at between two comparisons has its run too: the branch's own history is asked, not only its tip.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from manor.execution.base import Runner
from manor.integrations.repositories.base import Repository, RepositoryRules, Source
from manor.state import runs
from manor.state.store import Connection, Store

BRANCHES = "refs/heads/"


@dataclass(frozen=True)
class Move:
    """A branch that stands elsewhere than the ledger says. `old` None: new; `new` None: gone."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Watched:
    """A repository with its product and rules."""

    source: Source
    product: Repository
    rules: RepositoryRules


def compare(refs: Mapping[str, str], ledger: Mapping[str, str]) -> tuple[Move, ...]:
    """Return how the refs differ from the ledger, sorted by ref."""
    names = sorted(refs.keys() | ledger.keys())
    return tuple(Move(name, ledger.get(name), refs.get(name)) for name in names if ledger.get(name) != refs.get(name))


def is_delivered(ref: str, rules: RepositoryRules) -> bool:
    """Tell whether new commits of this ref are runs."""
    return ref.startswith(BRANCHES) and any(fnmatchcase(ref.removeprefix(BRANCHES), pattern) for pattern in rules.delivered)


def commits_since(history: Sequence[str], move: Move) -> tuple[str, ...]:
    """Return the commits that the branch moved over, oldest first, its tip last; without a usable history the tip alone."""
    if move.new is None:
        return ()
    if move.old is not None and move.old not in history:
        return (move.new,)
    start = 0 if move.old is None else len(history) - list(reversed(history)).index(move.old)
    passed = [commit for commit in history[start:] if commit.strip("0")]
    return tuple(dict.fromkeys([*(commit for commit in passed if commit != move.new), move.new]))


class Ledger:
    """Keeps the ledger of every repository up to date."""

    def __init__(self, watched: Callable[[], Iterable[Watched]], runner: Runner, store: Store) -> None:
        """Watch the repositories that `watched` gives at the time, asking through `runner`, writing into `store`."""
        self._watched = watched
        self._runner = runner
        self._store = store
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def catch_up(self, repository: str, actor: str = "ledger") -> None:
        """Compare one repository's refs with the ledger and record what is new. Raises ManorError."""
        for watched in self._watched():
            if watched.source.name == repository:
                await self._catch_up(watched, actor)

    async def catch_up_all(self) -> None:
        """Compare every repository; one that fails does not keep the others, and all failures are raised together."""
        results = await asyncio.gather(*(self._catch_up(watched, "ledger") for watched in self._watched()), return_exceptions=True)
        if failures := [result for result in results if isinstance(result, Exception)]:
            raise ExceptionGroup("repositories that could not be compared", failures)

    async def _catch_up(self, watched: Watched, actor: str) -> None:
        name = watched.source.name
        async with self._one_at_a_time[name]:
            for act in watched.product.refresh(watched.source):
                await self._runner.carry_out(act)
            refs = watched.product.parse_refs(await self._runner.run(watched.product.refs(watched.source)))
            moves = compare(refs, {row.ref: row.commit for row in await self._store.read(runs.ledger, name)})
            if moves:
                passed = [(move, await self._passed(watched, move)) for move in moves]
                await self._store.write(record, watched, passed, actor, self._store.clock.now())

    async def _passed(self, watched: Watched, move: Move) -> tuple[str, ...]:
        if move.new is None or not is_delivered(move.ref, watched.rules):
            return ()
        answer = await self._runner.run(watched.product.history(watched.source, move.ref))
        return commits_since(watched.product.parse_history(answer), move)


def record(connection: Connection, watched: Watched, passed: Sequence[tuple[Move, Sequence[str]]], actor: str, at: float) -> None:
    """Write where the refs stand, and a waiting run for each commit that a delivered one has passed."""
    name = watched.source.name
    for move, commits in passed:
        for commit in commits:
            runs.record_tip(connection, name, move.ref, commit, actor, at=at)
        if move.new is None:
            runs.forget_ref(connection, name, move.ref)
        elif not commits:
            runs.record_tip(connection, name, move.ref, move.new, actor, at=at, starts_run=False)
