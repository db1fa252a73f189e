"""Where an answer ends, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.observe.probe.model import Lane
from manor.observe.probe.wire import AnswerReader, MalformedAnswer, request_bytes
from tests.observe.probe.memory import target

WHOLE = {
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "empty": b"HTTP/1.1 503 Service Unavailable\r\ncontent-length:0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
    "after 103": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
}


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
def test_an_answer_is_whole_at_its_last_byte_and_not_before(name: str, data: st.DataObject) -> None:
    answer = WHOLE[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=6)))
    reader = AnswerReader(is_head=False)
    for begin, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
        assert not reader.is_done
        reader.feed(answer[begin:end])
    assert reader.is_done
    assert reader.keeps_alive
    assert reader.end()


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_cut_anywhere_is_not_whole(name: str) -> None:
    for length in range(1, len(WHOLE[name])):
        reader = AnswerReader(is_head=False)
        reader.feed(WHOLE[name][:length])
        assert not reader.end(), WHOLE[name][:length]


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    reader = AnswerReader(is_head=False)
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\nso much")
    assert not reader.is_done
    assert not reader.keeps_alive
    assert reader.end()


def test_head_has_no_body_and_close_means_close() -> None:
    reader = AnswerReader(is_head=True)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: Close\r\n\r\n")
    assert (reader.is_done, reader.keeps_alive) == (True, False)


@pytest.mark.parametrize("version", ["HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_old_http_closes(version: str) -> None:
    reader = AnswerReader(is_head=False)
    reader.feed(version.encode())
    assert not reader.keeps_alive


@pytest.mark.parametrize(
    "bad",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP",
        b"x" * 70000,
    ],
)
def test_what_is_no_answer_is_said_to_be_none(bad: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        AnswerReader(is_head=False).feed(bad)


def test_a_request_as_bytes() -> None:
    asked = target(method="POST", body="x=1", headers=(("X-Test", "1"),))
    assert request_bytes(asked, "/a?b", Lane.NEW).decode().splitlines() == [
        "POST /a?b HTTP/1.1",
        "Host: shop.localhost",
        "User-Agent: manor-probe",
        "Accept: */*",
        "X-Test: 1",
        "Content-Length: 3",
        "Connection: close",
        "",
        "x=1",
    ]
    assert b"Content-Length" not in request_bytes(target(), "/", Lane.KEPT)
