"""Artifacts handed in, with the report of their tests if there is one: streamed to files, measured and hashed on the way.

Invariant: memory is bounded; a file that is incomplete, too large or not what its sender says never reaches anybody, and leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from manor.pipeline.junit import MOST_REPORT_BYTES
from manor.web.forms import BadForm, boundary_of, form_parts
from manor.web.patience import LEAST_BYTES_A_SECOND, Allowance

IDLE_SECONDS = 120.0
"""A client that sends nothing for so long is given up, and one that makes it wait so long in all without sending a KiB for each second."""
MOST_AT_ONCE = 8
PREFIX, REPORT_PREFIX = "incoming-", "report-"
ARTIFACT, JUNIT = "artifact", "junit"
"""The fields of the form."""


@dataclass(frozen=True)
class Upload:
    """A complete file, on the disk (fsync)."""

    file: Path
    digest: str
    """sha256, hex."""
    size_bytes: int
    junit: Path | None = None
    """The report that came with it; nobody has read it yet."""


@dataclass
class Incoming:
    """A file that is being received."""

    what: str
    path: Path
    target: IO[bytes]
    largest_bytes: int
    is_begun: bool = False
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def begin(self) -> None:
        """Take what comes for this file from now on. Raises HTTPException 422 the second time."""
        if self.is_begun:
            raise HTTPException(422, f"the form has the field {self.what} twice")
        self.is_begun = True

    def take(self, chunk: bytes) -> None:
        """Write a piece. Raises HTTPException 413."""
        self.size += len(chunk)
        if self.size > self.largest_bytes:
            raise HTTPException(413, f"{self.what}: larger than {self.largest_bytes} bytes")
        self.digest.update(chunk)
        self.target.write(chunk)

    async def keep(self) -> None:
        """Make it durable."""
        self.target.flush()
        await asyncio.to_thread(os.fsync, self.target.fileno())


def under_way(folder: Path) -> list[Path]:
    """Return the artifacts of uploads that have not ended."""
    return list(folder.glob(f"{PREFIX}*"))


def sweep(folder: Path) -> None:
    """Remove what a controller that was killed left half received; only while no other one runs."""
    for left in (*under_way(folder), *folder.glob(f"{REPORT_PREFIX}*")):
        remove(left)


@asynccontextmanager
async def received(
    request: Request, folder: Path, largest_bytes: int, idle_seconds: float = IDLE_SECONDS, largest_report_bytes: int = MOST_REPORT_BYTES
) -> AsyncIterator[Upload]:
    """Give the request's body, or the files of its form, which are removed afterwards unless moved away. Raises HTTPException 400, 408, 413, 422, 503."""
    promised = promised_digest(request.query_params.get("sha256", ""))
    with ExitStack() as files:
        artifact = files.enter_context(incoming(folder, PREFIX, ARTIFACT, largest_bytes))
        report = files.enter_context(incoming(folder, REPORT_PREFIX, JUNIT, largest_report_bytes))
        if len(under_way(folder)) > MOST_AT_ONCE:
            raise HTTPException(503, f"{MOST_AT_ONCE} uploads are under way; try again when one has ended")
        async with aclosing(arriving(request, idle_seconds)) as chunks:
            await receive(chunks, request.headers.get("content-type", ""), {ARTIFACT: artifact, JUNIT: report})
        digest = artifact.digest.hexdigest()
        _require(digest, promised or digest, artifact.size)
        await artifact.keep()
        yield Upload(artifact.path, digest, artifact.size, await kept_report(report) if report.is_begun else None)


def promised_digest(text: str) -> str:
    """Return the digest that the artifact is held against, lower case; empty: none was given. Raises HTTPException 422 for what is no sha256."""
    if text and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise HTTPException(422, f"sha256: {text[:80]!r} is no sha256, which has 64 hex digits; give what `sha256sum` prints first, or leave it out")
    return text.lower()


@contextmanager
def incoming(folder: Path, prefix: str, what: str, largest_bytes: int) -> Iterator[Incoming]:
    """Give an empty file to receive something in; it is removed afterwards."""
    number, path = new_file(folder, prefix)
    try:
        with os.fdopen(number, "wb") as target:
            yield Incoming(what, path, target, largest_bytes)
    finally:
        remove(path)


def new_file(folder: Path, prefix: str = PREFIX) -> tuple[int, Path]:
    """Make an empty file that only we can read; return its descriptor and path."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=prefix, dir=folder)
    return number, Path(name)


def remove(file: Path) -> None:
    """Remove a file that may have been moved away."""
    file.unlink(missing_ok=True)


async def arriving(request: Request, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives. Raises HTTPException 400 if it breaks off, 408 if it stalls or trickles."""
    chunks, loop, patience = request.stream(), asyncio.get_running_loop(), Allowance.of(idle_seconds)
    try:
        while True:
            began = loop.time()
            chunk = await asyncio.wait_for(anext(chunks, None), patience.left)
            if chunk is None:
                return
            patience.count(loop.time() - began, len(chunk))
            yield chunk
    except TimeoutError:
        told = f"nothing came for {idle_seconds:g} s, or for long less than {LEAST_BYTES_A_SECOND} bytes a second"
        raise HTTPException(408, f"{told}; send it again") from None
    except ClientDisconnect:
        raise HTTPException(400, "the upload ended before it was complete") from None


async def receive(chunks: AsyncIterator[bytes], content_type: str, files: Mapping[str, Incoming]) -> None:
    """Write a body to the artifact, or each field of a form to its file. Raises HTTPException."""
    try:
        boundary = boundary_of(content_type)
        if boundary is None:
            async for chunk in chunks:
                files[ARTIFACT].take(chunk)
        else:
            await receive_form(chunks, boundary, files)
    except BadForm as error:
        raise HTTPException(422, f"{error}; send it e.g. with `curl -F artifact=@shop.tar -F junit=@report.xml …`") from None


async def receive_form(chunks: AsyncIterator[bytes], boundary: bytes, files: Mapping[str, Incoming]) -> None:
    """Write each field of a form to its file, and read what may follow the form to its end. Raises BadForm, HTTPException."""
    async for name, piece in form_parts(chunks, boundary):
        if name not in files:
            raise BadForm(f"the form has a field {name[:40]!r}; the fields are {' and '.join(files)}, the rest is in the address")
        if piece:
            files[name].take(piece)
        else:
            files[name].begin()
    async for _ in chunks:
        pass


async def kept_report(report: Incoming) -> Path:
    """Return the file of a report that was received. Raises HTTPException 422 if there is nothing in it."""
    if report.size == 0:
        raise HTTPException(422, "junit: the report is empty; leave the field out where there is none")
    await report.keep()
    return report.path


def _require(digest: str, promised: str, size: int) -> None:
    if size == 0:
        raise HTTPException(
            422, "the body is empty; send the artifact as the body, e.g. `curl --data-binary @shop.tar …`, or as the field `artifact` of a form"
        )
    if digest != promised:
        raise HTTPException(422, f"sha256 is {digest}, not {promised}: it was damaged on the way")
