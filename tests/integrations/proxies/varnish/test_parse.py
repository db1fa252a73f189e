"""What Varnish prints, as values."""

from __future__ import annotations

import json

import pytest

from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord
from manor.integrations.proxies.varnish import product

LINE = {
    "time": "1795420569.874185",
    "piped": "",
    "tier": "prod/web-1/1-cache-varnish",
    "id": "c0f3",
    "service": "shop",
    "method": "GET",
    "host": "shop.example",
    "path": "/a",
    "status": "200",
    "upstream_status": "200",
    "end": "miss",
    "seconds": "1896",
    "bytes": "769",
    "slot": "a",
    "cache": "miss",
    "upstream": "",
}


def access(**changes: str) -> AccessRecord:
    record = product.parse_access(json.dumps(LINE | changes))
    assert record is not None
    return record


def test_lines() -> None:
    assert access() == AccessRecord(
        1795420569.874185, "prod/web-1/1-cache-varnish", "c0f3", "shop", "GET", "shop.example", "/a", 200, 200, "done", 0.001896, 769, "a", "miss"
    )
    hit = access(end="hit", cache="hit", slot="-", upstream_status="")
    assert (hit.slot, hit.cache, hit.upstream_status, hit.ended_by) == ("", "hit", None, "done")
    assert access(status="503", upstream_status="").ended_by == "us"
    assert access(status="503", upstream_status="503").ended_by == "done"
    assert access(status="404", upstream_status="", end="synth", cache="-").cache == ""
    piped = access(time="-", piped="1795420570.5", end="pipe", cache="-", status="101", upstream_status="")
    assert (piped.time, piped.cache) == (1795420570.5, "pass")


@pytest.mark.parametrize("line", ["", "Failed to acquire log", "[]", '{"x": 1}'])
def test_what_is_no_access_line(line: str) -> None:
    assert product.parse_access(line) is None


def test_check_version_ready() -> None:
    assert product.parse_check(Completed(0, b"/* ---===### include/vdef.h ###===--- */")) == ()
    assert product.parse_check(Completed(2, b"", b"Message from VCC-compiler:\nExpected ';'\n\n")) == ("Message from VCC-compiler:", "Expected ';'")
    assert product.parse_version(Completed(0, b"", b"varnishd (varnish-7.1.1 revision 7cee)\n")) == "7.1.1"
    assert product.parse_ready(Completed(0, b"Child in state running\n")) is None
    assert product.parse_ready(Completed(0, b"Child in state stopped\n")) == "varnish: Child in state stopped"
    with pytest.raises(ValueError, match="no version"):
        product.parse_version(Completed(0))
