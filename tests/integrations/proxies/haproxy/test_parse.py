"""What HAProxy 2.6.12 says, read."""

from __future__ import annotations

import re

import pytest

from manor.errors import ManorError
from manor.estate.topology import Role, TrafficState
from manor.execution.values import Completed, SocketCommand
from manor.integrations.proxies.base import ServerView
from manor.integrations.proxies.haproxy import parse, product
from manor.integrations.proxies.haproxy.state import HEADER
from tests.integrations.proxies import nodes

SERVICE = nodes.service(hosts=[("web-1", "127.202.0.11")])
NODE = nodes.node("haproxy", Role.BALANCER, 2, services=[SERVICE], is_switching=True)
STAT = "# pxname,svname,qcur,scur,stot,status,check_status,\n"


def said(*servers: tuple[str, int, str]) -> Completed:
    """Return an answer with servers as (name, administrative state, status)."""
    states = [f"3 shop 1 {name} 127.202.0.11 2 {admin} 100 100 1 6 3 4 14 0 0 0 - 18100 - 0 0 - - 0" for name, admin, _ in servers]
    rows = [f"shop,{name},1,2,7,{status},L7OK,\n" for name, _, status in servers]
    return Completed(0, ("1\n" + HEADER + "\n" + "\n".join(states) + "\n\n" + STAT + "".join(rows) + "\n").encode())


def test_servers() -> None:
    assert product.parse_switch(NODE, SERVICE, said(("web-1-b", 12, "DRAIN 1/2"), ("web-1-a", 4, "UP"))) == (
        ServerView("web-1-a", TrafficState.READY, True, 3, 7, "UP L7OK"),
        ServerView("web-1-b", TrafficState.DRAIN, None, 3, 7, "DRAIN 1/2 L7OK"),
    )


def test_open_websockets_are_told_apart_where_a_route_is_for_them() -> None:
    service = nodes.service(routes=[nodes.route("shop.acme.example", class_="websocket")], hosts=[("web-1", "127.202.0.11")])
    asked = product.observe_switch(NODE, service)
    assert isinstance(asked, SocketCommand)
    assert asked.line.endswith("; show table shop.maintenance")
    table = "# table: shop.maintenance, type: string, size:8, used:1\n0x560afa29ad08: key=web-1-a use=2 exp=0 conn_cur=2\n"
    answer = said(("web-1-a", 4, "UP"), ("web-1-b", 5, "MAINT"))
    views = product.parse_switch(NODE, service, Completed(0, answer.out + table.encode()))
    assert [(view.name, view.in_flight, view.websockets) for view in views] == [("web-1-a", 3, 2), ("web-1-b", 3, 0)]


@pytest.mark.parametrize(
    ("admin", "status", "traffic", "is_healthy"),
    [
        (0, "UP", TrafficState.READY, True),
        (4, "UP 1/2", TrafficState.READY, None),
        (4, "DOWN", TrafficState.READY, False),
        (4, "DOWN 1/3", TrafficState.READY, False),
        (5, "MAINT", TrafficState.MAINT, None),
        (8, "DRAIN", TrafficState.DRAIN, True),
        (12, "DOWN 2/3", TrafficState.DRAIN, False),
        (13, "MAINT", TrafficState.MAINT, None),
    ],
)
def test_states(admin: int, status: str, traffic: TrafficState, is_healthy: bool | None) -> None:
    view = product.parse_switch(NODE, SERVICE, said(("web-1-a", admin, status), ("web-1-b", 5, "MAINT")))[0]
    assert (view.traffic, view.is_healthy) == (traffic, is_healthy)


def test_a_missing_server_is_said() -> None:
    with pytest.raises(ManorError, match="haproxy knows no server web-1-b of shop"):
        product.parse_switch(NODE, SERVICE, said(("web-1-a", 4, "UP")))


def test_workers() -> None:
    text = b"""#<PID>          <type>          <reloads>       <uptime>        <version>
17142           master          2 [failed: 1]   0d00h10m44s     2.6.12-1+deb12u4
# workers
29799           worker          0               0d00h00m02s     2.6.12-1+deb12u4
# old workers
17145           worker          2               0d00h10m42s     2.6.12-1+deb12u4
# programs
"""
    assert parse.parse_workers(Completed(0, text)) == parse.Workers(2, 1, (29799,), (17145,))


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        (b"Name: HAProxy\nUptime_sec: 3\nStopping: 0\n", None),
        (b"Name: HAProxy\nUptime_sec: 3\nStopping: 1\n", "the worker is stopping"),
        (b"Permission denied\n", "no answer to `show info`: 'Permission denied\\n'"),
    ],
)
def test_ready(out: bytes, problem: str | None) -> None:
    assert product.parse_ready(Completed(0, out)) == problem


def test_loaded() -> None:
    assert product.parse_loaded(NODE, Completed(0, b"MANOR_CONFIG=0123\n\n")) is not None
    digest = re.search(rb"MANOR_CONFIG (\w+)", next(file.content for file in product.render(NODE) if file.name == "haproxy.cfg"))
    assert digest
    assert product.parse_loaded(NODE, Completed(0, b"MANOR_CONFIG=" + digest[1] + b"\n\n")) is None


def test_checker() -> None:
    words = b"[NOTICE]   (1) : haproxy version is 2.6.12\n[WARNING]  (1) : config : so so\n[ALERT]    (1) : config : parsing [h.cfg:3]: no\n"
    assert product.parse_check(Completed(1, b"", words)) == ("config : parsing [h.cfg:3]: no",)


@pytest.mark.parametrize(
    ("end", "who"),
    [
        ("--", "done"),
        ("LR", "done"),
        ("PR", "done"),
        ("CD", "client"),
        ("cD", "client"),
        ("SC", "us"),
        ("SH", "us"),
        ("sH", "us"),
        ("sQ", "us"),
        ("PH", "us"),
        ("PC", "us"),
        ("KD", "us"),
    ],
)
def test_who_ended_it(end: str, who: str) -> None:
    assert parse.ended_by(end) == who


def test_a_line_of_the_log() -> None:
    line = (
        r'{"time":1795421447.504,"id":"8485","service":"shop","method":"GET","host":"shop.acme.example","path":"\/x","status":200,'
        r'"upstream_status":"200","end":"--","seconds":2e-3,"bytes":482,"slot":"a","cache":"-","upstream":"shop/web-1-a"}'
    )
    record = product.parse_access(line)
    assert record
    assert (record.time, record.path, record.seconds, record.upstream_status, record.slot, record.cache) == (1795421447.504, "/x", 0.002, 200, "a", "")
