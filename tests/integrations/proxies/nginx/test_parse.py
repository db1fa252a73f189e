"""What nginx 1.22.1 says, read."""

from __future__ import annotations

import pytest

from manor.errors import ManorError
from manor.estate.topology import TrafficState
from manor.execution.values import Completed
from manor.integrations.proxies.base import ServerView
from manor.integrations.proxies.nginx import product
from tests.integrations.proxies.nginx.cases import alone, shop

LINE = (
    '{"time":1795421447.503,"id":"84","service":"shop","method":"GET","host":"shop.acme.example","path":"/x","status":%s,"upstream_status":"%s",'
    '"end":"%s","seconds":0.001,"bytes":526,"slot":"a","cache":"","upstream":"127.202.2.11:8100","header_seconds":"%s"}'
)


@pytest.mark.parametrize(
    ("status", "upstream_status", "end", "header", "wanted"),
    [
        (200, "200", "OK", "0.001", (200, 200, "done")),
        (500, "500", "OK", "0.001", (500, 500, "done")),
        (502, "502", "OK", "", (502, None, "us")),
        (502, "502, 502", "OK", "-, -", (502, None, "us")),
        (200, "502, 200", "OK", "-, 0.002", (200, 200, "done")),
        (504, "504", "OK", "", (504, None, "us")),
        (502, "502", "OK", "0.001", (502, 502, "done")),
        (503, "", "OK", "", (503, None, "us")),
        (499, "", "", "", (499, None, "client")),
        (404, "", "OK", "", (404, None, "done")),
        (200, "200", "", "0.001", (200, 200, "client")),
    ],
)
def test_a_line_of_the_log(status: int, upstream_status: str, end: str, header: str, wanted: tuple[int, int | None, str]) -> None:
    record = product.parse_access(LINE % (status, upstream_status, end, header))
    assert record
    assert (record.status, record.upstream_status, record.ended_by) == wanted
    assert (record.service, record.slot, record.path, record.time) == ("shop", "a", "/x", 1795421447.503)


def test_servers_of_this_host() -> None:
    views = product.parse_switch(alone(), shop(), Completed(200, b"a=drain b=ready maintenance=off\n"))
    assert views == (
        ServerView("web-1-a", TrafficState.DRAIN, None, detail="drain"),
        ServerView("web-1-b", TrafficState.READY, None, detail="ready"),
    )


def test_an_unknown_service_is_said() -> None:
    with pytest.raises(ManorError, match="nginx answered 404"):
        product.parse_switch(alone(), shop(), Completed(404, b"<html>"))


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        (b'nginx: [emerg] unknown directive "prox" in /x/nginx.conf:3\n', ('unknown directive "prox" in /x/nginx.conf:3',)),
        (b'2026/11/23 08:00:00 [emerg] 12#12: no "ssl_certificate" is defined\n', ('no "ssl_certificate" is defined',)),
        (b"", ("nginx -t ended with 1",)),
    ],
)
def test_checker(words: bytes, problems: tuple[str, ...]) -> None:
    assert product.parse_check(Completed(1, b"", words)) == problems


def test_ready_and_loaded() -> None:
    assert product.parse_ready(Completed(200, b"Active connections: 1\n")) is None
    assert product.parse_ready(Completed(403, b"no")) == "the admin listener answered 403: 'no'"
    assert product.parse_loaded(alone(), Completed(200, b"0123")) is not None
