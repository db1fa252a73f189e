"""The controller's process put together: repositories, ledger, git, API, pages and workers over one store.

Invariant: everything here can be made again from the store, the estate and the folders; nothing is lost with the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from starlette.applications import Starlette

from manor.errors import ManorError
from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.integrations.repositories.base import Hosting, RepositoryRules
from manor.state import runs
from manor.state.store import Store
from manor.web.api import ApiPorts
from manor.web.app import WebPorts, make_app
from manor.web.git import GitLimits, GitPorts, GitServer
from manor.web.readings import EnvironmentFacts, Readings
from manor.web.server import Listener, Worker, every, serve
from manor.web.sessions import Sessions, session_key
from manor.web.tokens import token_check
from manor.workflows.follow import follow_run
from manor.workflows.ledger import Ledger
from manor.workflows.repositories import HostedRepositories, RulesOf

log = logging.getLogger(__name__)
LEDGER_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Declared:
    """What the controller needs to know of the estate."""

    estate: str
    environments: Sequence[EnvironmentFacts] = ()
    repositories: Sequence[str] = ()
    """Those that services name; made if they are missing."""


@dataclass(frozen=True)
class Parts:
    """What the controller is made of."""

    store: Store
    runner: Runner
    """Acts on the controller itself."""
    hosting: Hosting
    declared: Declared
    rules_of: RulesOf = field(default=lambda _name: RepositoryRules())
    api: ApiPorts = field(default_factory=ApiPorts)
    """Functions beyond what the store alone can answer, e.g. `ship`."""
    workers: Sequence[Worker] = ()
    """Beside the ledger's and the housekeeping's."""
    watch_seconds: float = 20.0
    """How long a pusher waits for somebody to begin the run."""


class StoreDelivery:
    """Pushed commits become runs in the store."""

    def __init__(self, ledger: Ledger, store: Store, watch_seconds: float) -> None:
        """Record by `ledger`, read from `store`."""
        self._ledger = ledger
        self._store = store
        self._watch_seconds = watch_seconds

    async def catch_up(self, repository: str, actor: str) -> None:
        """Compare the refs with the ledger."""
        await self._ledger.catch_up(repository, actor)

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        """Return the id of the commit's run."""
        run = await self._store.read(runs.find_run, repository, ref, commit)
        return run.id if run else None

    def follow(self, run: str) -> AsyncGenerator[str, None]:
        """Yield the run's log until it ends."""
        return follow_run(self._store, run, longest_wait_seconds=self._watch_seconds)


def nobody_to_tell() -> None:
    """Tell nobody."""


async def run_controller(parts: Parts, listener: Listener, stopping: asyncio.Event | None = None, ready: Callable[[], None] = nobody_to_tell) -> None:
    """Run the controller until it is told to stop; `ready` is called when everything is in place. May be killed at any moment, and started again."""
    stopping = stopping or asyncio.Event()
    repositories = HostedRepositories(parts.store.folder.repositories, parts.hosting, parts.runner, parts.rules_of)
    await prepare(repositories, parts.declared.repositories)
    ledger = Ledger(repositories.watched, parts.runner, parts.store)
    git = git_server(parts, repositories, StoreDelivery(ledger, parts.store, parts.watch_seconds), listener)
    workers = [
        every(LEDGER_SECONDS, "the ledger", ledger.catch_up_all),
        every(HOUSEKEEPING_SECONDS, "the repositories' housekeeping", repositories.housekeeping),
        *parts.workers,
    ]
    ready()
    await serve(application(parts, git, stopping), listener, workers, stopping, git.close)


async def prepare(repositories: HostedRepositories, wanted: Sequence[str]) -> None:
    """Make missing repositories and bring all to this version's rules; one that is broken does not keep the others."""
    for name in sorted({*wanted, *repositories.names()}):
        try:
            await repositories.create(name)
        except ManorError:
            log.exception("the repository %s could not be prepared; the others are served", name)


def git_server(parts: Parts, repositories: HostedRepositories, delivery: StoreDelivery, listener: Listener) -> GitServer:
    """Return what answers git's clients."""
    largest = max((parts.rules_of(name).largest_push_bytes for name in repositories.names()), default=RepositoryRules().largest_push_bytes)
    limits = GitLimits(largest_body_bytes=largest)
    empty = HostPath(empty_folder(parts.store.folder.path))
    return GitServer(GitPorts(parts.hosting, repositories.find, token_check(parts.store), delivery, listener.callback_base, empty, limits))


def application(parts: Parts, git: GitServer, stopping: asyncio.Event) -> Starlette:
    """Return the application, with all that the store can answer."""
    store, declared = parts.store, parts.declared
    readings = Readings(store, declared.estate, declared.environments)
    api = replace(
        parts.api,
        status=parts.api.status or readings.status,
        runs=readings.runs,
        run=readings.run,
        run_log=lambda run: follow_run(store, run, longest_wait_seconds=float("inf")),
        operations=readings.operations,
        operation=readings.operation,
        receipts=readings.receipts,
        receipt=readings.receipt,
        incoming=store.folder.artifacts / "incoming",
    )
    sessions = Sessions(session_key(store.folder.path / "web.key"))
    return make_app(WebPorts(token_check(store), sessions, api, git, stopping))


def empty_folder(state: Path) -> Path:
    """Return a home without any settings, for programs that look for some."""
    folder = state / "empty"
    folder.mkdir(mode=0o500, exist_ok=True)
    return folder
