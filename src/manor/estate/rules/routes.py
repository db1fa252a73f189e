"""One host and path belongs to one service (docs/estate.md, routes)."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.model import Environment
from manor.estate.names import route_host
from manor.estate.overlays import Path
from manor.estate.problems import Finding, dotted
from manor.estate.rules.context import Context

Claim = tuple[str, Path, str]
"""Host and path, where it is declared, and where its name comes from if nobody wrote it so."""


def check_routes(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield each route and redirect whose host and path another one has."""
    taken: dict[str, Path] = {}
    for address, path, origin in _claims(environment, context.domain):
        other = taken.setdefault(address, path)
        if other is not path:
            yield Finding(path, f"{address}{origin} is also {dotted(other)}; give one of them another host or path")


def _claims(environment: Environment, domain: str) -> Iterator[Claim]:
    for name, service in environment.services.items():
        for number, route in enumerate(service.routes):
            yield (
                route_host(route.host, environment, domain) + _plain(route.path),
                ("services", name, "routes", number),
                _origin(route.host, environment, domain),
            )
        for number, redirect in enumerate(service.redirects):
            host, _, path = redirect.from_.partition("/")
            yield host.lower() + _plain(f"/{path}"), ("services", name, "redirects", number), ""


def _origin(host: str, environment: Environment, domain: str) -> str:
    """Return which parts a name without a dot was completed by."""
    if "." in host:
        return ""
    added = f"`domain` {domain}" if environment.is_last else f"environment {environment.name} and `domain` {domain}"
    return f" (host `{host}`, completed by {added})"


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"
