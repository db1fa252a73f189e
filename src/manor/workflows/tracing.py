"""Follows one request through every tier of an environment, by its request id, from the tiers' access logs.

Invariant: reads only; what a tier logged under another id is not guessed at.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from manor.errors import NotOurs, UsageError
from manor.execution.values import Command, Touch
from manor.integrations.proxies.base import AccessRecord
from manor.observe.edge import is_readable, list_files, parse_files
from manor.reconcile.desired import DesiredTier
from manor.reconcile.site import Site
from manor.workflows.context import Context

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{5,127}")


@dataclass(frozen=True)
class Hop:
    """A request as one tier saw it."""

    environment: str
    host: str
    tier: str
    place: int
    record: AccessRecord
    own_seconds: float
    """Of the time that it took here, what the next tier does not account for."""

    @property
    def began(self) -> float:
        """When this tier began with it, seconds since 1970."""
        return self.record.time - self.record.seconds


async def trace_request(context: Context, environments: Iterable[str], request_id: str) -> tuple[Hop, ...]:
    """Return the hops of a request, outermost first. Raises UsageError for what is no id."""
    if not REQUEST_ID.fullmatch(request_id):
        raise UsageError(f"{request_id!r} is not a request id; it is what the response's X-Request-Id or an access log says")
    sites = [context.site(name) for name in environments]
    asked = [search(site, tier, request_id) for site in sites for host in site.hosts.values() for tier in host.tiers]
    found = [hop for hops in await asyncio.gather(*asked) for hop in hops]
    return with_own_times(sorted(found, key=lambda hop: (hop.environment, hop.place, hop.began)))


async def search(site: Site, tier: DesiredTier, request_id: str) -> list[Hop]:
    """Return what one tier on one host logged of a request; nothing of one that is never to be read."""
    node, runner = tier.node, site.runners[tier.node.host]
    try:
        files = parse_files(await runner.run(list_files(node.folders.access_log, node.subject)))
    except NotOurs:
        return []
    paths = [str(file.path) for file in files if is_readable(file)]
    if not paths:
        return []
    answer = await runner.run(Command(("grep", "-hF", "-e", request_id, "--", *paths), Touch(node.subject), ok_codes=frozenset({0, 1})))
    records = [record for line in answer.text.splitlines() if (record := tier.proxy.parse_access(line)) and record.request_id == request_id]
    return [Hop(site.wiring.environment.name, node.host, node.key, node.place, record, record.seconds) for record in records]


def with_own_times(hops: list[Hop]) -> tuple[Hop, ...]:
    """Return the hops, each with the time that is its own: less what the hop after it took."""
    found = []
    for hop in hops:
        after = [next_.record.seconds for next_ in hops if next_.environment == hop.environment and next_.place == hop.place + 1]
        own = max(0.0, hop.record.seconds - sum(after)) if after else hop.record.seconds
        found.append(Hop(hop.environment, hop.host, hop.tier, hop.place, hop.record, own))
    return tuple(found)
