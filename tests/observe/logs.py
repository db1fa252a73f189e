"""Access logs for tests: lines of the documented shape, and their parser."""

from __future__ import annotations

import json
from typing import Any

from manor.integrations.proxies.base import AccessRecord


def line(time: float, **changes: Any) -> str:
    plain = {"time": time, "service": "shop", "status": 200, "upstream_status": 200, "ended_by": "done", "slot": "a", "cache": ""}
    return json.dumps(plain | changes)


def parse(text: str) -> AccessRecord | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return AccessRecord(
        tier="edge",
        request_id="",
        method="GET",
        host="shop.example",
        path="/",
        seconds=0.01,
        bytes=10,
        **row,
    )
