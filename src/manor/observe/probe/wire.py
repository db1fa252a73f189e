"""HTTP/1.1 on a connection, as far as a probe needs it: requests as bytes, and a reader that knows where an answer ends.

Vendor: RFC 9112, sections 6 (length of a message) and 7.1 (chunks).
Invariant: no I/O; a reader is fed bytes and the end of the connection, in whatever pieces.
"""

from __future__ import annotations

from enum import Enum, auto

from manor.observe.probe.model import Lane, Target

LONGEST_HEAD = 65536
NO_BODY = frozenset({204, 304})


class MalformedAnswer(ValueError):
    """What came is no HTTP/1.1 answer."""


def request_bytes(target: Target, path: str, lane: Lane) -> bytes:
    """Return a whole request."""
    body = target.body.encode()
    lines = [f"{target.method} {path} HTTP/1.1", f"Host: {target.host}", "User-Agent: manor-probe", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in target.headers]
    lines += [f"Content-Length: {len(body)}"] if body or target.method not in {"GET", "HEAD"} else []
    lines += ["Connection: close"] if lane is Lane.NEW else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Stage(Enum):
    """How far an answer has come."""

    HEAD = auto()
    COUNTED = auto()
    """So many bytes are still to come."""
    CHUNK_SIZE = auto()
    TRAILER = auto()
    UNTIL_CLOSE = auto()
    DONE = auto()


class AnswerReader:
    """Reads one answer."""

    def __init__(self, *, is_head: bool) -> None:
        """Read the answer to a request; one to HEAD has no body."""
        self.is_head = is_head
        self.status = 0
        self.keeps_alive = True
        self.has_begun = False
        self._stage = Stage.HEAD
        self._buffer = b""
        self._left = 0
        self._is_chunked = False

    @property
    def is_done(self) -> bool:
        """Tell whether the answer is whole."""
        return self._stage is Stage.DONE

    def feed(self, data: bytes) -> None:
        """Take bytes in. Raises MalformedAnswer; also for bytes after the answer."""
        self.has_begun = True
        self._buffer += data
        while self._buffer and self._advance():
            pass
        if self.is_done and self._buffer:
            raise MalformedAnswer(f"{len(self._buffer)} bytes after the answer")

    def end(self) -> bool:
        """Take the end of the connection in; tell whether the answer is whole."""
        if self._stage is Stage.UNTIL_CLOSE:
            self._stage = Stage.DONE
        return self.is_done

    def _advance(self) -> bool:
        """Go on by one piece; tell whether to try again."""
        match self._stage:
            case Stage.HEAD:
                return self._take_head()
            case Stage.COUNTED:
                return self._take_counted()
            case Stage.CHUNK_SIZE:
                return self._take_chunk_size()
            case Stage.TRAILER:
                return self._take_trailer()
            case Stage.UNTIL_CLOSE:
                self._buffer = b""
        return False

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > LONGEST_HEAD:
                raise MalformedAnswer("no end of the head in 64 KiB")
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        status_line, *lines = head.split(b"\r\n")
        self._take_status(status_line)
        if self.status >= 200:
            self._take_framing(parse_fields(lines))
        return True

    def _take_status(self, line: bytes) -> None:
        version, _, rest = line.partition(b" ")
        if version not in {b"HTTP/1.1", b"HTTP/1.0"} or not rest[:3].isdigit():
            raise MalformedAnswer(f"status line {line[:60]!r}")
        self.status = int(rest[:3])
        self.keeps_alive = version == b"HTTP/1.1"

    def _take_framing(self, fields: dict[bytes, bytes]) -> None:
        connection = fields.get(b"connection", b"").lower()
        self.keeps_alive = (self.keeps_alive or b"keep-alive" in connection) and b"close" not in connection
        length = fields.get(b"content-length")
        if self.is_head or self.status in NO_BODY:
            self._stage = Stage.DONE
        elif b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            self._is_chunked = True
            self._stage = Stage.CHUNK_SIZE
        elif length is not None:
            self._expect(parse_number(length, 10))
        else:
            self.keeps_alive = False
            self._stage = Stage.UNTIL_CLOSE

    def _expect(self, count: int) -> None:
        self._left = count
        self._stage = Stage.COUNTED if count else Stage.DONE

    def _take_counted(self) -> bool:
        taken = min(self._left, len(self._buffer))
        self._buffer = self._buffer[taken:]
        self._left -= taken
        if self._left == 0:
            self._stage = Stage.CHUNK_SIZE if self._is_chunked else Stage.DONE
        return True

    def _take_chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        size = parse_number(self._buffer[:end].partition(b";")[0], 16)
        self._buffer = self._buffer[end + 2 :]
        if size:
            self._left = size + 2
            self._stage = Stage.COUNTED
        else:
            self._stage = Stage.TRAILER
        return True

    def _take_trailer(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        self._buffer = self._buffer[end + 2 :]
        if end == 0:
            self._stage = Stage.DONE
        return True


def parse_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Return the header fields by lower-case name, the last of each."""
    pairs = (line.partition(b":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def parse_number(text: bytes, base: int) -> int:
    """Return a length. Raises MalformedAnswer."""
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise MalformedAnswer(f"length {text[:20]!r}")
    return value
