"""Forms with files, cut up anyhow, beside what another program's writer puts together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.web.forms import MOST_HEADER_BYTES, BadForm, boundary_of, form_parts

BOUNDARY = b"x-7"
HEAD = b'Content-Disposition: form-data; name="artifact"; filename="shop.tar"\r\n\r\n'


async def cut(body: bytes, sizes: Sequence[int]) -> AsyncIterator[bytes]:
    """Yield a body in pieces of these sizes, again and again."""
    at, n = 0, 0
    while at < len(body):
        size = sizes[n % len(sizes)]
        yield body[at : at + size]
        at, n = at + size, n + 1


def read(body: bytes, sizes: Sequence[int], boundary: bytes = BOUNDARY) -> list[tuple[str, bytes]]:
    """Return the parts, each with its whole content."""

    async def collect() -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        async for name, piece in form_parts(cut(body, sizes), boundary):
            found[len(found) :] = [] if piece else [(name, b"")]
            found[-1] = (name, found[-1][1] + piece)
        return found

    return asyncio.run(collect())


CONTENTS = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"x", b"\r\n--x", b"\r\n--x-7"[:6], b"\0", b"abc"]), max_size=12).map(b"".join)


@given(st.lists(CONTENTS, min_size=1, max_size=3), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_every_part_arrives_as_it_was_sent_however_it_is_cut(contents: list[bytes], sizes: list[int]) -> None:
    boundary = b"x-7y"
    body = b"".join(b"--" + boundary + b"\r\n" + HEAD + content + b"\r\n" for content in contents) + b"--" + boundary + b"--"
    assert read(body, sizes, boundary) == [("artifact", content) for content in contents]


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 400))
def test_what_another_program_writes_is_read(artifact: bytes, report: bytes, size: int) -> None:
    request = httpx2.Request("POST", "http://x/", files={"artifact": ("shop.tar", artifact), "junit": ("r.xml", report, "text/xml")})
    boundary = boundary_of(request.headers["content-type"])
    assert boundary
    assert read(request.read(), [size], boundary) == [("artifact", artifact), ("junit", report)]


@given(st.binary(max_size=200), st.integers(1, 50))
def test_nonsense_is_refused_and_not_waited_for(body: bytes, size: int) -> None:
    with pytest.raises(BadForm):
        read(body, [size])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends before its last boundary"),
        (b"--x-7\r\n" + HEAD + b"abc", "ends before its last boundary"),
        (b"--x-7\r\n" + HEAD + b"abc\r\n--x-7", "ends before its last boundary"),
        (b"--x-7junk\r\n" + HEAD, "followed by something else"),
        (b"--x-7\r\n\r\nabc\r\n--x-7--", "no headers"),
        (b"--x-7\r\nContent-Type: text/plain\r\n\r\nabc\r\n--x-7--", "has no name"),
        (b"--x-7\r\nA: " + b"a" * (MOST_HEADER_BYTES + 10) + b"\r\n\r\nabc\r\n--x-7--", "bytes of headers"),
        (b"--x-7\r\nA: " + b"a" * 100_000, "bytes of headers"),
        (b"--x-7" + b" " * 100_000, "bytes of headers"),
        (b"a" * 100_000, "does not begin with its boundary"),
    ],
)
def test_a_form_that_is_none_says_why(body: bytes, why: str) -> None:
    with pytest.raises(BadForm, match=why):
        read(body, [1000])


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"])
def test_a_form_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(BadForm, match="names no boundary"):
        boundary_of(content_type)


@pytest.mark.parametrize("content_type", ["", "application/x-tar", "application/x-www-form-urlencoded", "text/plain; boundary=x"])
def test_other_bodies_are_no_form(content_type: str) -> None:
    assert boundary_of(content_type) is None
