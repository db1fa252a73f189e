"""Connections to a program are counted from what the kernel lists (docs/rollout.md)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.rollout.connections import IPV4, IPV6, SOCKETS, open_connections

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 20 4 30 10 -1\n"
TABLE = HEADER + "".join(
    f"   {number}: {row} {REST}"
    for number, row in enumerate(
        [
            "0B010A7F:206C 00000000:0000 0A",  # listens
            "0B010A7F:206C 0100007F:D431 01",
            "0B010A7F:206C 0100007F:D432 01",
            "0B010A7F:206C 0100007F:D433 08",  # the other side has closed it
            "0B010A7F:206C 0100007F:D434 06",  # TIME_WAIT
            "0B010A7F:206D 0100007F:D435 01",  # another port
            "0C010A7F:206C 0100007F:D436 01",  # another address
            "0100007F:D431 0B010A7F:206C 01",  # the other end of the second
        ]
    )
)
MAPPED = HEADER + f"   0: 0000000000000000FFFF00000B010A7F:206C 0000000000000000FFFF00000100007F:D437 01 {REST}"


@pytest.mark.skipif(sys.byteorder == "big", reason="the tables above were written by a little-endian machine")
def test_only_established_connections_to_the_very_address_and_port_count() -> None:
    tables = {IPV4: TABLE.encode(), IPV6: MAPPED.encode()}
    assert open_connections(tables, "127.10.1.11", 0x206C) == 3
    assert open_connections({IPV4: TABLE.encode()}, "127.10.1.11", 0x206C) == 2
    assert open_connections(tables, "127.10.1.11", 9999) == 0
    assert open_connections({}, "127.10.1.11", 0x206C) is None, "a host that has no such tables can't say"


@pytest.mark.native
async def test_this_kernel_says_it_so(tmp_path: Path) -> None:
    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)

    accepted: list[asyncio.StreamWriter] = []
    runner = LocalRunner("prod/web-1", Guard("prod/web-1"))
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert open_connections(await runner.read(SOCKETS), "127.0.0.1", port) == 0
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        assert open_connections(await runner.read(SOCKETS), "127.0.0.1", port) == 1
        writer.close()
        await writer.wait_closed()
        assert open_connections(await runner.read(SOCKETS), "127.0.0.1", port) == 0
        for one in accepted:
            one.close()
