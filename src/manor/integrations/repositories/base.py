"""The contract of a repository: where a service's source comes from, and which commit each branch stands at.

Invariant: pure; a product says what to run and reads what came back, a runner acts.
Invariant: the refs decide. Hooks and webhooks only say "look now"; whoever looks asks for the refs (docs/git.md).
How to add a product: README.md beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from manor.execution.cgi import CgiProgram
from manor.execution.values import Act, Command, Completed, HostPath

News = Literal["at_once", "webhook", "poll"]
"""How one learns that a branch moved: we serve it ourselves, it tells us (with polling behind it), or only by asking."""


@dataclass(frozen=True)
class Source:
    """One repository, seen from the controller."""

    name: str
    """A name of the estate's pattern."""
    place: HostPath
    """The repository's folder on the controller, or of its mirror."""
    remote: str = ""
    """Where it really lives; empty if here."""


@dataclass(frozen=True)
class RepositoryRules:
    """What may be pushed."""

    protected: tuple[str, ...] = ("main",)
    """Branches (`*` matches any text) that only move forward and never vanish."""
    delivered: tuple[str, ...] = ("main",)
    """Branches whose new commits are runs."""
    largest_push_bytes: int = 512 * 1024 * 1024
    """A larger pack is refused."""


@dataclass(frozen=True)
class Pusher:
    """On whose behalf the program acts."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class GitRequest:
    """One request of the smart HTTP protocol; the body is streamed."""

    method: str
    service: str
    """`info/refs`, `git-upload-pack` or `git-receive-pack`."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    client: str
    """The client's address."""
    callback: str = ""
    """Where hooks report a finished push, e.g. `http://127.0.0.1:7000/git/pushes/…`; empty: nowhere."""
    empty_folder: HostPath = field(default=HostPath("/nonexistent"))
    """A home without any settings."""


class Repository(ABC):
    """A product that keeps source."""

    news: News

    @abstractmethod
    def url(self, source: Source, base_url: str) -> str:
        """Return where people clone from; `base_url` is the controller's own address."""

    @abstractmethod
    def refresh(self, source: Source) -> Sequence[Act]:
        """Return what brings the refs on the controller up to date; empty where they live here."""

    @abstractmethod
    def refs(self, source: Source) -> Command:
        """Return the question which commit each branch stands at."""

    @abstractmethod
    def parse_refs(self, answer: Completed) -> Mapping[str, str]:
        """Return full ref name → commit from the answer."""

    @abstractmethod
    def history(self, source: Source, ref: str) -> Command:
        """Return the question which commits a branch has stood at."""

    @abstractmethod
    def parse_history(self, answer: Completed) -> Sequence[str]:
        """Return the commits that the branch has stood at, oldest first; empty where that is not known."""

    @abstractmethod
    def checkout(self, source: Source, commit: str, folder: HostPath) -> Sequence[Act]:
        """Return what leaves the commit's files in a new folder, without history."""


class Hosting(Repository):
    """A repository product whose repositories are served by Manor itself."""

    @abstractmethod
    def create(self, source: Source, rules: RepositoryRules) -> Sequence[Act]:
        """Return what makes the repository, or brings an existing one to these rules; always safe to repeat."""

    @abstractmethod
    def backend(self, source: Source, request: GitRequest, pusher: Pusher) -> CgiProgram:
        """Return the program that answers a request."""

    @abstractmethod
    def housekeeping(self, source: Source) -> Sequence[Act]:
        """Return what keeps the repository small and fast; safe beside pushes."""
