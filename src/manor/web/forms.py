"""Takes a form with files (multipart/form-data) apart while it arrives.

Invariant: what is held is a chunk, a boundary and one part's headers (8 KiB) at the most, however large the files are and however they are cut up.
https://www.rfc-editor.org/rfc/rfc7578
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from email.message import Message
from email.parser import BytesHeaderParser

MOST_HEADER_BYTES = 8 * 1024
MOST_LEADING_BYTES = 1024
"""How much may stand before the first boundary."""
LONGEST_BOUNDARY = 70
"""RFC 2046, 5.1.1."""


class BadForm(ValueError):
    """A form that can't be read; says why."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a form with files, or None if the body is something else. Raises BadForm."""
    head = Message()
    head["Content-Type"] = content_type
    if head.get_content_type() != "multipart/form-data":
        return None
    boundary = head.get_boundary("")
    if not 0 < len(boundary) <= LONGEST_BOUNDARY or not boundary.isascii():
        raise BadForm("the form names no boundary of 1 to 70 characters")
    return boundary.encode()


async def form_parts(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield each part's name with an empty content first, then with one piece of its content after the other. Raises BadForm."""
    source, mark = Source(chunks), b"\r\n--" + boundary
    source.held = b"\r\n"  # the first boundary may stand at the very beginning
    leading = 0
    async for piece in source.until(mark):
        leading += len(piece)
        if leading > MOST_LEADING_BYTES:
            raise BadForm("the form does not begin with its boundary")
    while (await source.line()).strip(b" \t") != b"--":
        name = name_of(await source.headers())
        yield name, b""
        async for piece in source.until(mark):
            yield name, piece


def name_of(headers: bytes) -> str:
    """Return a part's name from its headers. Raises BadForm."""
    head = BytesHeaderParser().parsebytes(headers)
    name = head.get_param("name", header="content-disposition")
    if head.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise BadForm("a part of the form has no name")
    return name


class Source:
    """What has arrived and is not read yet."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        """Read from these."""
        self._chunks = chunks
        self.held = b""

    async def _more(self) -> None:
        """Hold the next chunk too. Raises BadForm at the end."""
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise BadForm("the form ends before its last boundary")
        self.held += chunk

    async def until(self, mark: bytes) -> AsyncGenerator[bytes, None]:
        """Yield what comes before the mark, and pass over the mark."""
        while (at := self.held.find(mark)) < 0:
            sure = len(self.held) - len(mark) + 1
            if sure > 0:
                piece, self.held = self.held[:sure], self.held[sure:]
                yield piece
            await self._more()
        piece, self.held = self.held[:at], self.held[at + len(mark) :]
        if piece:
            yield piece

    async def line(self) -> bytes:
        """Return what follows a boundary on its line; `--` after the last one, which no line end has to follow."""
        while b"\r\n" not in self.held:
            if self.held.startswith(b"--"):
                self.held = b""
                return b"--"
            await self._short()
        line, _, self.held = self.held.partition(b"\r\n")
        if line.strip(b" \t") not in (b"", b"--"):
            raise BadForm("a boundary of the form is followed by something else")
        return line

    async def headers(self) -> bytes:
        """Return a part's headers."""
        while b"\r\n\r\n" not in self.held:
            if self.held.startswith(b"\r\n"):
                raise BadForm("a part of the form has no headers")
            await self._short()
        headers, _, self.held = self.held.partition(b"\r\n\r\n")
        if len(headers) > MOST_HEADER_BYTES:
            raise BadForm(f"a part of the form has more than {MOST_HEADER_BYTES} bytes of headers")
        return headers

    async def _short(self) -> None:
        if len(self.held) > MOST_HEADER_BYTES:
            raise BadForm(f"a part of the form has more than {MOST_HEADER_BYTES} bytes of headers")
        await self._more()
