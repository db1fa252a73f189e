"""Speaks the line protocols of admin sockets: say a line, read until the other side closes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from manor.errors import TimedOut, Unreachable
from manor.execution.messages import shown
from manor.execution.values import Completed, Connect, SocketCommand


async def talk(command: SocketCommand, host: str) -> Completed:
    """Say the line and return the whole answer. Raises TimedOut, Unreachable."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(command.timeout_seconds):
            answer = await _exchange(command)
    except TimeoutError:
        raise TimedOut(f"{host}: `{shown(command)}`: no full answer within {command.timeout_seconds:g} s") from None
    except OSError as error:
        raise Unreachable(f"{host}: `{shown(command)}`: {error.strerror or error}") from error
    return Completed(0, answer, seconds=time.monotonic() - began)


async def connect(connect: Connect, host: str) -> Completed:
    """Open a TCP connection and close it. Raises TimedOut, Unreachable."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(connect.timeout_seconds):
            _, writer = await asyncio.open_connection(connect.address, connect.port)
    except TimeoutError:
        raise TimedOut(f"{host}: `{shown(connect)}`: no connection within {connect.timeout_seconds:g} s") from None
    except OSError as error:
        raise Unreachable(f"{host}: `{shown(connect)}`: {error.strerror or error}") from error
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Completed(0, seconds=time.monotonic() - began)


async def _exchange(command: SocketCommand) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(command.socket))
    try:
        writer.write(command.line.encode() + b"\n")
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
