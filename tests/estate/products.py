"""Traits of made-up products with real names, so that the estate's tests need no product's folder."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from manor.estate.topology import ProxyTraits, Role, Switch
from manor.estate.units import Duration

CHECKS: frozenset[Literal["http", "tcp", "command"]] = frozenset({"http", "tcp", "command"})
PRODUCTS = {
    "haproxy": ProxyTraits(
        roles=frozenset({Role.ROUTER, Role.BALANCER}),
        default_for=frozenset({Role.BALANCER}),
        can_be_first=True,
        switch=Switch.COUNTED,
        switch_checks=CHECKS,
        takes_part={"include": frozenset({"into", "main", "pid", "socket"}), "runtime": frozenset({"socket"})},
        extra_places=frozenset({"backend", "frontend"}),
    ),
    "nginx": ProxyTraits(
        roles=frozenset({Role.ROUTER, Role.WEB}),
        default_for=frozenset({Role.WEB}),
        can_be_first=True,
        switch=Switch.TIMED,
        switch_checks=frozenset({"http"}),
        takes_part={"include": frozenset({"into", "main", "pid"})},
        extra_places=frozenset({"server"}),
    ),
    "traefik": ProxyTraits(
        roles=frozenset({Role.ROUTER, Role.BALANCER}),
        default_for=frozenset({Role.ROUTER}),
        takes_no_part="its listeners stand in its static file",
        can_be_first=True,
        switch=Switch.TIMED,
        switch_checks=frozenset({"http"}),
    ),
    "varnish": ProxyTraits(roles=frozenset({Role.CACHE}), default_for=frozenset({Role.CACHE}), takes_no_part="its VCL is one whole"),
}


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grace: Duration = 0.0
    threads: int = 1


OPTIONS = {"haproxy": Options}
