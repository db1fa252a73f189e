"""What Traefik writes and answers, as values."""

from __future__ import annotations

import json

import pytest

from manor.errors import Unreachable
from manor.estate.topology import TrafficState
from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord, ServerView
from manor.integrations.proxies.traefik import product
from tests.integrations.proxies.traefik.cases import shop, switching

LINE = {
    "DownstreamContentSize": 404,
    "DownstreamStatus": 200,
    "Duration": 1_250_000_000,
    "OriginStatus": 200,
    "RequestHost": "shop.acme.example",
    "RequestMethod": "GET",
    "RequestPath": '/a"b/{x}',
    "RouterName": "shop.1.unmeasured@file",
    "ServiceName": "manor.next.60@file",
    "ServiceURL": "http://127.0.0.1:9010",
    "StartUTC": "2026-11-23T07:57:17.083392333Z",
    "TraceId": "705a27a5a118c9da727cbbb5e9d9c90e",
    "origin_Date": "Mon, 23 Nov 2026 07:57:16 GMT",
}
REFUSED = {"OriginStatus": 502, "DownstreamStatus": 502}


def access(**changes: object) -> AccessRecord:
    """Return the record of the line above with changes; None removes."""
    merged = {key: value for key, value in {**LINE, **changes}.items() if value is not None}
    record = product.parse_access(json.dumps(merged))
    assert record is not None
    return record


def test_a_line() -> None:
    record = access()
    assert record.time == pytest.approx(1795420638.333392, abs=1e-4)
    assert (record.service, record.path, record.request_id, record.seconds) == ("shop", '/a"b/{x}', "705a27a5a118c9da727cbbb5e9d9c90e", 1.25)
    assert (record.status, record.upstream_status, record.ended_by, record.bytes) == (200, 200, "done", 404)


@pytest.mark.parametrize(
    ("changes", "upstream", "ended_by"),
    [
        ({"DownstreamStatus": 499, "OriginStatus": 499}, None, "client"),
        (REFUSED | {"origin_Date": None}, None, "us"),
        (REFUSED, 502, "done"),
        ({"DownstreamStatus": 503, "OriginStatus": 503, "ServiceName": "manor.pages@file"}, None, "us"),
        ({"DownstreamStatus": 404, "OriginStatus": 0, "ServiceURL": None}, None, "done"),
    ],
)
def test_who_ended_it(changes: dict[str, object], upstream: int | None, ended_by: str) -> None:
    record = access(**changes)
    assert (record.upstream_status, record.ended_by) == (upstream, ended_by)


def test_what_is_no_access_line() -> None:
    assert product.parse_access("2026-11-23T07:57:12Z INF Traefik version 3.7.15") is None
    assert product.parse_access('{"level":"info"}') is None
    assert access(RouterName="manor.404@file").service == ""
    assert access(RouterName="tls1-shop.0.read@file", entryPointName="tls1").service == "shop"
    assert access(RouterName="tls1-manor.404@file", entryPointName="tls1").service == ""


def test_servers() -> None:
    def entry(name: str, **states: str) -> dict[str, object]:
        urls = {f"http://127.202.0.{number.removeprefix('s')}": word for number, word in states.items()}
        return {"name": f"{name}@file", "status": "enabled", "loadBalancer": {"servers": [{"url": url} for url in urls]}, "serverStatus": urls}

    urls = {server.name: f"http://{server.address}:{server.port}" for server in shop().servers}
    answer = [
        {"name": "shop@file", "status": "enabled"},
        {
            "name": "shop.ready@file",
            "status": "enabled",
            "loadBalancer": {"servers": [{"url": urls["web-1-a"]}]},
            "serverStatus": {urls["web-1-a"]: "UP"},
        },
        {
            "name": "shop.web-1-b@file",
            "status": "enabled",
            "loadBalancer": {"servers": [{"url": urls["web-1-b"]}]},
            "serverStatus": {urls["web-1-b"]: "DOWN"},
        },
        entry("shop-two.ready", s1="UP"),
    ]
    assert product.parse_switch(switching(), shop(), Completed(200, json.dumps(answer).encode())) == (
        ServerView("web-1-a", TrafficState.READY, True, detail="ready UP"),
        ServerView("web-1-b", TrafficState.DRAIN, False, detail="drain DOWN"),
        ServerView("web-2-a", TrafficState.MAINT, None, detail="not in its files"),
        ServerView("web-2-b", TrafficState.MAINT, None, detail="not in its files"),
    )


def test_one_that_is_just_starting_has_no_api_yet() -> None:
    with pytest.raises(Unreachable, match="traefik answers 404 on its API"):
        product.parse_switch(switching(), shop(), Completed(404, b"404 page not found\n"))


def test_check_and_version_and_ready() -> None:
    assert product.parse_check(Completed(0)) == ()
    assert product.parse_check(Completed(1, b"ERR one\n\nERR two\n")) == ("ERR one", "ERR two")
    assert product.parse_check(Completed(1)) == ("the check ended with 1 and said nothing",)
    assert product.parse_version(Completed(0, b"Version:      3.7.15\nCodename:     langres\n")) == "3.7.15"
    assert product.parse_ready(Completed(200)) is None
    assert "404" in str(product.parse_ready(Completed(404)))
    with pytest.raises(ValueError, match="no version"):
        product.parse_version(Completed(0, b"?"))
