"""A program that takes part in tests of several processes: counts tokens, or carries out an operation and may be told to die."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from manor.operations.chaos import chaos_from
from manor.operations.engine import execute
from manor.operations.leasing import hold
from manor.state import leases
from manor.state.store import Store
from tests.operations.files_world import KINDS, Folder


def count(store: Store, times: int) -> None:
    """Take that many tokens, and print them."""
    print(*(store.write_now(leases.next_token) for _ in range(times)))


async def carry_out(store: Store, operation: str, folder: Path) -> None:
    """Carry out an operation whose hosts are files."""
    async with hold(store, "prod/shop", operation) as lease:
        result = await execute(store, operation, Folder(folder), KINDS, lease, chaos=chaos_from(os.environ))
    print(result.operation.state)


def main(folder: str, verb: str, *arguments: str) -> None:
    """Do what the arguments say."""
    with Store.open(Path(folder)) as store:
        if verb == "count":
            count(store, int(arguments[0]))
        else:
            asyncio.run(carry_out(store, arguments[0], Path(arguments[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
