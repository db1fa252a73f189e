"""Artifacts handed in: streamed to a file, measured and hashed on the way.

Invariant: memory is bounded; a file that is incomplete, too large or not what its sender says never reaches anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

IDLE_SECONDS = 120.0
"""A client that sends nothing for so long is given up."""
MOST_AT_ONCE = 8
PREFIX = "incoming-"


@dataclass(frozen=True)
class Upload:
    """A complete file, on the disk (fsync)."""

    file: Path
    digest: str
    """sha256, hex."""
    size_bytes: int


def under_way(folder: Path) -> list[Path]:
    """Return the files of uploads that have not ended."""
    return list(folder.glob(f"{PREFIX}*"))


def sweep(folder: Path) -> None:
    """Remove what a controller that was killed left half received; only while no other one runs."""
    for left in under_way(folder):
        remove(left)


@asynccontextmanager
async def received(request: Request, folder: Path, largest_bytes: int, idle_seconds: float = IDLE_SECONDS) -> AsyncIterator[Upload]:
    """Give the request's body as a file, which is removed afterwards unless it was moved away. Raises HTTPException 408, 413, 422, 503."""
    number, file = new_file(folder)
    try:
        with os.fdopen(number, "wb") as target:
            if len(under_way(folder)) > MOST_AT_ONCE:
                raise HTTPException(503, f"{MOST_AT_ONCE} uploads are under way; try again when one has ended")
            digest, size = await _copy(request, target.write, largest_bytes, idle_seconds)
            target.flush()
            await asyncio.to_thread(os.fsync, target.fileno())
        _require(digest, request.query_params.get("sha256", digest), size)
        yield Upload(file, digest, size)
    finally:
        remove(file)


def new_file(folder: Path) -> tuple[int, Path]:
    """Make an empty file that only we can read; return its descriptor and path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
    return number, Path(name)


def remove(file: Path) -> None:
    """Remove a file that may have been moved away."""
    file.unlink(missing_ok=True)


async def _copy(request: Request, write: Callable[[bytes], object], largest_bytes: int, idle_seconds: float) -> tuple[str, int]:
    digest, size, chunks = hashlib.sha256(), 0, request.stream()
    try:
        while (chunk := await asyncio.wait_for(anext(chunks, None), idle_seconds)) is not None:
            size += len(chunk)
            if size > largest_bytes:
                raise HTTPException(413, f"larger than {largest_bytes} bytes")
            digest.update(chunk)
            write(chunk)
    except TimeoutError:
        raise HTTPException(408, f"nothing came for {idle_seconds:g} s; send it again") from None
    except ClientDisconnect:
        raise HTTPException(400, "the upload ended before it was complete") from None
    return digest.hexdigest(), size


def _require(digest: str, promised: str, size: int) -> None:
    if size == 0:
        raise HTTPException(422, "the body is empty; send the artifact as the body, e.g. `curl --data-binary @shop.tar …`")
    if digest != promised.lower():
        raise HTTPException(422, f"sha256 is {digest}, not {promised}: it was damaged on the way")
