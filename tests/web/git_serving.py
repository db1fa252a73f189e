"""A controller with nothing but git, API and pages, as a process of its own: `python -m tests.web.git_serving FOLDER ADDRESS PORT LARGEST`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath, Secret
from manor.integrations.repositories.base import RepositoryRules
from manor.registry import product
from manor.state import runs, tokens
from manor.state.store import Store
from manor.web.api import ApiPorts
from manor.web.app import WebPorts, make_app
from manor.web.git import GitLimits, GitPorts, GitServer
from manor.web.readings import EnvironmentFacts, Readings
from manor.web.server import every, listen_on_port, serve
from manor.web.sessions import Sessions, session_key
from manor.web.tokens import token_check
from manor.workflows.follow import follow_run
from manor.workflows.ledger import Ledger
from manor.workflows.repositories import HostedRepositories


class Delivery:
    """The ledger and the store, as pushes see them. `is_deaf` holds the ledger back, as a controller that is killed would."""

    def __init__(self, ledger: Ledger, store: Store, *, is_deaf: bool, patience: float) -> None:
        self._ledger, self._store, self._is_deaf, self._patience = ledger, store, is_deaf, patience

    async def catch_up(self, repository: str, actor: str) -> None:
        if self._is_deaf:
            await asyncio.sleep(3600)
        await self._ledger.catch_up(repository, actor)

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        run = await self._store.read(runs.find_run, repository, ref, commit)
        return run.id if run else None

    def follow(self, run: str) -> AsyncGenerator[str, None]:
        return follow_run(self._store, run, longest_wait_seconds=self._patience)


async def main(folder: Path, address: str, port: int, limits: GitLimits, *, is_deaf: bool, patience: float) -> None:
    store = Store.open(folder)
    rules = RepositoryRules(largest_push_bytes=limits.largest_body_bytes)
    hosted, runner = product("repositories", "hosted"), LocalRunner("controller", Guard("controller"))
    repositories = HostedRepositories(store.folder.repositories, hosted, runner, lambda _name: rules)
    await repositories.create("shop")
    await repositories.refresh_rules()
    ledger = Ledger(repositories.watched, runner, store)
    listener, stopping = listen_on_port(address, port), asyncio.Event()
    delivery = Delivery(ledger, store, is_deaf=is_deaf, patience=patience)
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    git = GitServer(GitPorts(hosted, repositories.find, token_check(store), delivery, listener.callback_base, HostPath(empty), limits))
    readings = Readings(store, "acme-health", [EnvironmentFacts("dev"), EnvironmentFacts("prod", after="dev")])
    api = ApiPorts(status=readings.status, runs=readings.runs, run=readings.run, run_log=delivery.follow)
    app = make_app(WebPorts(token_check(store), Sessions(session_key(folder / "web.key")), api, git, stopping))
    announce(folder, store.write_now(tokens.first_admin, "a test", at=1.0))
    workers = [] if is_deaf else [every(10, "ledger", ledger.catch_up_all)]
    await serve(app, listener, workers, stopping, git.close)


def announce(folder: Path, token: Secret | None) -> None:
    """Leave the first token where the tests find it, and say that we listen."""
    if token:
        (folder / "token").write_text(token.value)
    print("ready", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    bounds = GitLimits(pushes=1 if "narrow" in sys.argv else GitLimits.pushes, largest_body_bytes=int(sys.argv[4]))
    patience = 60.0 if "patient" in sys.argv else 2.0
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), bounds, is_deaf="deaf" in sys.argv, patience=patience))
