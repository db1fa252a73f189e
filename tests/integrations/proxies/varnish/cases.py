"""The tiers whose files are kept under `cases/`, by name."""

from __future__ import annotations

from typing import Any

from manor.estate.model import Bypass, Cache
from manor.estate.topology import Role, ServiceView, TierNode
from tests.integrations.proxies import nodes


def services() -> list[ServiceView]:
    """Return a service that is kept with exceptions, one that is kept, and one that is not."""
    bypass = Bypass(paths=("/basket", "/checkout/"), cookies=("sessionid", "a.b"))
    return [
        nodes.service("shop", cache=Cache(ttl="5m", grace="1h", bypass=bypass), probe_paths=("/healthz", "/ready"), response_seconds=600.0),
        nodes.service("other", port=8400, cache=Cache(ttl="10s")),
        nodes.service("crm", port=8200, extra={"varnish": {"recv": b"set req.url = std.querysort(req.url);\n", "deliver": b'set resp.http.X-Crm = "1";\n'}}),
    ]


def tier(**more: Any) -> TierNode:
    """Return a cache on its place after a first tier that makes no request ids."""
    address = more.pop("address", "127.202.0.11")
    more.setdefault("next_", [nodes.endpoint("edge-1", address, 9020)])
    more.setdefault("services", services())
    return nodes.node("varnish", Role.CACHE, 1, address=address, **{"request_id": "from_trace", **more})


OPTIONS = {"storage": "1GiB", "largest_object": "1MiB", "log_memory": "8MiB", "header_size": "16KiB", "headers": 64, "threads_min": 10, "threads_max": 200}
CASES = {
    "one_next": tier(),
    "backup_and_all_options": tier(
        next_=[nodes.endpoint("edge-1", "127.202.0.11", 9020), nodes.endpoint("edge-2", "127.202.0.12", 9020, backup=True)],
        request_id="take",
        options={**OPTIONS, "connect_timeout": "250ms"},
    ),
    "no_services": tier(services=[]),
}
