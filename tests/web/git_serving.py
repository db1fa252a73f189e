"""The controller as a process of its own: `python -m tests.web.git_serving FOLDER ADDRESS PORT LARGEST [deaf] [patient]`.

`deaf`: nothing reaches the ledger, as if it were killed between a ref's update and the ledger's. `patient`: pushers watch for a minute.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.integrations.repositories.base import RepositoryRules
from manor.registry import product
from manor.state.store import Store
from manor.web.controller import Declared, Parts, run_controller
from manor.web.readings import EnvironmentFacts
from manor.web.server import listen_on_port
from manor.web.tokens import ensure_first_admin
from manor.workflows.ledger import Ledger


async def nothing_is_heard(*_: object) -> None:
    await asyncio.sleep(3600)


async def main(folder: Path, address: str, port: int, largest: int, words: list[str]) -> None:
    store = Store.open(folder)
    if "deaf" in words:
        Ledger.catch_up = Ledger.catch_up_all = nothing_is_heard  # type: ignore[assignment, method-assign]
    runner = LocalRunner("controller", Guard("controller"))
    declared = Declared("acme-health", [EnvironmentFacts("dev"), EnvironmentFacts("prod", after="dev")], ["shop"])
    rules = RepositoryRules(largest_push_bytes=largest)
    parts = Parts(store, runner, product("repositories", "hosted"), declared, lambda _name: rules, watch_seconds=60.0 if "patient" in words else 2.0)
    listener = listen_on_port(address, port)
    if token := ensure_first_admin(store):
        (folder / "token").write_text(token.value)
    await run_controller(parts, listener, ready=lambda: print("ready", flush=True))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
