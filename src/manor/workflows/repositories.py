"""The repositories hosted here: made, brought to their rules, found, kept small.

Invariant: a repository exists if its folder does; there is no second list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from manor.errors import UsageError
from manor.estate.units import NAME
from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.integrations.repositories.base import Hosting, RepositoryRules, Source
from manor.workflows.ledger import Watched

RulesOf = Callable[[str], RepositoryRules]


class HostedRepositories:
    """The repositories in one folder."""

    def __init__(self, folder: Path, product: Hosting, runner: Runner, rules_of: RulesOf) -> None:
        """Keep repositories in `folder`; `rules_of` says what may be pushed to which."""
        self._folder = folder
        self._product = product
        self._runner = runner
        self._rules_of = rules_of

    def source(self, name: str) -> Source:
        """Return the repository of a name, whether it exists or not. Raises UsageError for what is no name."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters")
        return Source(name, HostPath(self._folder / f"{name}.git"))

    def find(self, name: str) -> Source | None:
        """Return the repository if it exists."""
        return self.source(name) if NAME.fullmatch(name) and (self._folder / f"{name}.git" / "HEAD").is_file() else None

    def names(self) -> tuple[str, ...]:
        """Return the names of those that exist, sorted."""
        return tuple(sorted(path.parent.name.removesuffix(".git") for path in self._folder.glob("*.git/HEAD")))

    def watched(self) -> Iterator[Watched]:
        """Yield those that exist, with their rules, for the ledger."""
        for name in self.names():
            yield Watched(self.source(name), self._product, self._rules_of(name))

    async def create(self, name: str) -> Source:
        """Make a repository, or bring an existing one to its rules."""
        source = self.source(name)
        for act in self._product.create(source, self._rules_of(name)):
            await self._runner.carry_out(act)
        return source

    async def refresh_rules(self) -> None:
        """Bring every repository to its rules and to this version's hooks, as `serve` does when it starts."""
        for name in self.names():
            await self.create(name)

    async def housekeeping(self) -> None:
        """Pack every repository, one after the other."""
        for name in self.names():
            for act in self._product.housekeeping(self.source(name)):
                await self._runner.carry_out(act)
