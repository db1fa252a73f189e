"""What to run for a tier of Traefik; pure.

`traefik` is found in the PATH that its supervisor or runner gives; `pip install manor[traefik]` puts it beside the Python it was installed for.
"""

from __future__ import annotations

from manor.estate.topology import ServiceView, TierNode
from manor.execution.values import Act, Command, Effect, HttpRequest, PutLink, Remove, Touch
from manor.integrations.proxies.base import TierProgram
from manor.integrations.proxies.traefik.options import Options

LINK = "_estate.yaml"


def programs(node: TierNode, options: Options) -> tuple[TierProgram, ...]:
    """Return the one process."""
    etc, folders = node.folders.etc, node.folders
    argv = ("sh", str(etc / "start.sh"), str(etc), str(folders.state), str(folders.run), str(options.heap_growth))
    return (TierProgram(f"tier-{node.key}", argv, stop_seconds=options.accept_grace + options.finish_grace + 5.0),)


def check(node: TierNode) -> Command:
    """Return the throw-away instance; files come from `etc`, which may be a staging folder."""
    etc = node.folders.etc
    argv = ("sh", str(etc / "check.sh"), str(etc), str(node.folders.state))
    return Command(argv, Touch(node.subject), timeout_seconds=30.0, ok_codes=frozenset({0, 1}))


def reload(node: TierNode) -> tuple[Act, ...]:
    """Return the act that makes it read its rendered file again: switching the link is the event that it watches for."""
    return (PutLink(node.folders.state / LINK, node.folders.etc / "dynamic.yaml", Touch(node.subject, Effect.INCLUDE)),)


def api(node: TierNode, path: str) -> HttpRequest:
    """Return a question to its API."""
    return HttpRequest("GET", f"http://{node.admin_address}:{node.admin_port}{path}", touch=Touch(node.subject, Effect.READ))


def ready(node: TierNode) -> HttpRequest:
    """Return the question whether it has read the estate's file: the last router of ours is there."""
    return api(node, "/api/http/routers/manor.404@file")


def loaded(node: TierNode, marker: str) -> HttpRequest:
    """Return the question whether this rendering is the one it works by."""
    return api(node, f"/api/http/routers/{marker}@file")


def observe_switch(node: TierNode, service: ServiceView) -> HttpRequest:
    """Return the question which servers of the service the running process has taken over."""
    return api(node, f"/api/http/services?search={service.name}.&per_page=1000")


def observe_maintenance(node: TierNode, service: ServiceView) -> HttpRequest:
    """Return the question for the first of the routers that answer with the service's maintenance page."""
    return api(node, f"/api/http/routers/{service.name}.maintenance0@file")


def version() -> Command:
    """Return the command that prints the version."""
    return Command(("traefik", "version"))


def remove(node: TierNode, name: str) -> Remove:
    """Return the act that removes a state file."""
    return Remove(node.folders.state / name, Touch(node.subject, Effect.INCLUDE))
