"""The repositories that Manor keeps itself.

Invariant: pure; every answer is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from manor.execution.cgi import CgiProgram
from manor.execution.values import Act, Command, Completed, HostPath
from manor.integrations.repositories.base import GitRequest, Hosting, News, Pusher, RepositoryRules, Source
from manor.integrations.repositories.hosted import commands, parse, render


class Hosted(Hosting):
    """Repositories hosted here."""

    is_default = True

    news: News = "at_once"

    def url(self, source: Source, base_url: str) -> str:
        """Return the address to clone from and push to."""
        return f"{base_url.rstrip('/')}/git/{source.name}.git"

    def refresh(self, source: Source) -> Sequence[Act]:
        """Return nothing to do: the refs live here."""
        return ()

    def refs(self, source: Source) -> Command:
        """Return the question which commit each branch stands at."""
        return commands.refs(source.place)

    def parse_refs(self, answer: Completed) -> Mapping[str, str]:
        """Return full ref name → commit."""
        return parse.parse_refs(answer.text)

    def history(self, source: Source, ref: str) -> Command:
        """Return the question which commits a branch has stood at, from its reflog."""
        return commands.history(source.place, ref)

    def parse_history(self, answer: Completed) -> Sequence[str]:
        """Return the commits, oldest first."""
        return parse.parse_history(answer.text)

    def checkout(self, source: Source, commit: str, folder: HostPath) -> Sequence[Act]:
        """Return what leaves the commit's files in a new folder."""
        return commands.checkout(source.place, commit, folder)

    def create(self, source: Source, rules: RepositoryRules) -> Sequence[Act]:
        """Return what makes the repository or brings it to the rules."""
        return (commands.init(source.place), *render.files(source.place, rules))

    def backend(self, source: Source, request: GitRequest, pusher: Pusher) -> CgiProgram:
        """Return git's own HTTP backend for one request."""
        return commands.backend(source, request, pusher)

    def housekeeping(self, source: Source) -> Sequence[Act]:
        """Return what packs the repository and removes what interrupted pushes left."""
        return commands.housekeeping(source.place)
