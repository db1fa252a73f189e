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


@dataclass(frozen=True)
class Upload:
    """A complete file, on the disk (fsync)."""

    file: Path
    digest: str
    """sha256, hex."""
    size_bytes: int


@asynccontextmanager
async def received(request: Request, folder: Path, largest_bytes: int) -> AsyncIterator[Upload]:
    """Give the request's body as a file, which is removed afterwards unless it was moved away. Raises HTTPException 413, 422."""
    number, file = new_file(folder)
    try:
        with os.fdopen(number, "wb") as target:
            digest, size = await _copy(request, target.write, largest_bytes)
            target.flush()
            await asyncio.to_thread(os.fsync, target.fileno())
        _require(digest, request.query_params.get("sha256", digest), size)
        yield Upload(file, digest, size)
    finally:
        remove(file)


def new_file(folder: Path) -> tuple[int, Path]:
    """Make an empty file that only we can read; return its descriptor and path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix="incoming-", dir=folder)
    return number, Path(name)


def remove(file: Path) -> None:
    """Remove a file that may have been moved away."""
    file.unlink(missing_ok=True)


async def _copy(request: Request, write: Callable[[bytes], object], largest_bytes: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > largest_bytes:
                raise HTTPException(413, f"larger than {largest_bytes} bytes")
            digest.update(chunk)
            write(chunk)
    except ClientDisconnect:
        raise HTTPException(400, "the upload ended before it was complete") from None
    return digest.hexdigest(), size


def _require(digest: str, promised: str, size: int) -> None:
    if size == 0:
        raise HTTPException(422, "the body is empty; send the artifact as the body, e.g. `curl --data-binary @shop.tar …`")
    if digest != promised.lower():
        raise HTTPException(422, f"sha256 is {digest}, not {promised}: it was damaged on the way")
