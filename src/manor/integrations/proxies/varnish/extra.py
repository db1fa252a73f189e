"""Verbatim VCL of a service, in the places that it may stand; only its own requests meet it.

Invariant: what it says is checked by the compiler, not by us; a place that does not exist is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from manor.errors import InvalidEstate
from manor.estate.topology import TierNode
from manor.integrations.proxies.varnish.native import string

PLACES = {"recv": "req", "backend_response": "bereq", "deliver": "req"}
"""Place → the object that has the stamp there."""


def refuse_unknown(node: TierNode) -> None:
    """Raise InvalidEstate for places that VCL does not have."""
    problems = [
        f"services.{service.name}.extra.varnish.{place}: no such place; there are: {', '.join(PLACES)}"
        for service in node.services
        for place in service.extra.get("varnish", {})
        if place not in PLACES
    ]
    if problems:
        raise InvalidEstate(problems)


def extra_lines(node: TierNode, place: str) -> Iterator[str]:
    """Yield the lines of every service for a place."""
    for service in node.services:
        text = service.extra.get("varnish", {}).get(place, b"").decode()
        if text:
            yield f"    if ({PLACES[place]}.http.X-Manor-Service == {string(service.name)}) {{"
            yield from (f"        {line}" if line else "" for line in text.splitlines())
            yield "    }"
