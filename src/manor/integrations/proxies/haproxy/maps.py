"""The map that finds the service of a request by host and path.

Invariant: every key ends with `/`, so the longest prefix is the longest match by whole segments.
Vendor's page: https://docs.haproxy.org/2.6/configuration.html#7.3.1-map
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.estate.model import Redirect
from manor.estate.topology import ServiceView
from manor.integrations.proxies.haproxy.quoting import identifier, map_key


@dataclass(frozen=True)
class Moved:
    """A redirect, and the word that stands for it in the map."""

    mark: str
    redirect: Redirect


def moves(services: tuple[ServiceView, ...]) -> tuple[Moved, ...]:
    """Return every redirect of the services; the marks can't be names of services."""
    found = [redirect for service in services for redirect in service.redirects]
    return tuple(Moved(f"!{index}", redirect) for index, redirect in enumerate(sorted(found, key=lambda one: one.from_)))


def routes(services: tuple[ServiceView, ...]) -> bytes:
    """Return the map: `<host><path>/` to `<service>:<class>:<body bytes, 0 is no limit>` or to a redirect's mark."""
    entries = {
        key(host, route.path): f"{identifier(service.name)}:{route.class_}:{route.body_bytes or 0}"
        for service in services
        for route in service.routes
        for host in route.hosts
    }
    entries |= {key(*split(moved.redirect.from_)): moved.mark for moved in moves(services)}
    return "".join(f"{name} {value}\n" for name, value in sorted(entries.items())).encode()


def key(host: str, path: str) -> str:
    """Return the key of a host and path."""
    return map_key(f"{host.lower()}{path.rstrip('/')}/")


def split(place: str) -> tuple[str, str]:
    """Return host and path of a redirect's `from`."""
    host, slash, path = place.removeprefix("https://").removeprefix("http://").partition("/")
    return host, slash + path


def service_list(services: tuple[ServiceView, ...]) -> bytes:
    """Return the stamps that an inner tier knows."""
    return "".join(f"{map_key(service.name)}\n" for service in services).encode()
