"""Redirects lead somewhere: followed through the environment, none comes back to where it began (docs/estate.md, routes)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from manor.estate.model import Environment, Redirect
from manor.estate.names import local_host_name, route_host
from manor.estate.overlays import Path
from manor.estate.problems import Finding
from manor.estate.rules.context import Context

URL = re.compile(r"(?:https?://(?P<host>[^/:?#]+)(?::(?P<port>[0-9]+))?)?(?P<path>/[^?#]*)?")
OUR_PORTS = (None, "80", "443")
Place = tuple[str, str]
"""Host and path, without the slash at its end."""


@dataclass
class Answers:
    """What answers at each host and path: a redirect, or None for a route."""

    by_host: dict[str, dict[str, Redirect | None]] = field(default_factory=dict)

    def add(self, place: Place, redirect: Redirect | None) -> None:
        """Note who answers at a place and below."""
        self.by_host.setdefault(place[0], {})[place[1]] = redirect

    def at(self, place: Place) -> Redirect | None:
        """Return the redirect that a request for a place meets: the longest match by whole segments wins."""
        found = self.by_host.get(place[0], {})
        path = place[1]
        while path not in found:
            if not path:
                return None
            path = path.rpartition("/")[0]
        return found[path]


def check_redirects(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield each redirect that comes back to itself."""
    declared = [(name, number, redirect) for name, service in environment.services.items() for number, redirect in enumerate(service.redirects)]
    if not declared:
        return
    answers = _answers(environment, context.domain)
    for name, number, redirect in declared:
        circle = _circle(redirect, answers)
        if circle:
            path: Path = ("services", name, "redirects", number, "to")
            yield Finding(path, f"goes round in a circle: {' → '.join(circle)}; send it where something else answers")


def _answers(environment: Environment, domain: str) -> Answers:
    answers = Answers()
    for name, service in environment.services.items():
        for route in service.routes:
            for host in (route_host(route.host, environment, domain), local_host_name(name, environment.name)):
                answers.add((host, route.path.rstrip("/")), None)
        for redirect in service.redirects:
            answers.add(_from(redirect), redirect)
    return answers


def _circle(first: Redirect, answers: Answers) -> list[str]:
    """Return the way from a redirect back to itself; nothing if it does not come back."""
    way = [first.from_]
    seen: list[Redirect] = []
    redirect: Redirect | None = first
    while redirect is not None and not any(redirect is one for one in seen):
        seen.append(redirect)
        place = _to(redirect)
        redirect = answers.at(place) if place else None
        way.append("".join(place) if place else "")
    return way if redirect is first else []


def _from(redirect: Redirect) -> Place:
    host, slash, path = redirect.from_.partition("/")
    return host.lower(), (slash + path).rstrip("/")


def _to(redirect: Redirect) -> Place | None:
    """Return where a redirect leads; None: to another port, where somebody else answers."""
    found = URL.match(redirect.to)
    if found is None or found["port"] not in OUR_PORTS:
        return None
    return (found["host"] or _from(redirect)[0]).lower(), (found["path"] or "").rstrip("/")
