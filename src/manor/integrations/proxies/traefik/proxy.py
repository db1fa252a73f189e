"""Traefik behind the contract of a tier's product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from manor.estate.topology import ProxyTraits, Role, ServiceView, Switch, TierNode, TrafficState
from manor.execution.values import Act, Command, Completed, Effect, FileAct, HttpRequest, PutFile, Touch
from manor.integrations.proxies.base import AccessRecord, Proxy, RenderedFile, ServerView, TierProgram
from manor.integrations.proxies.traefik import commands, parse
from manor.integrations.proxies.traefik.options import Options
from manor.integrations.proxies.traefik.render import read_options, render
from manor.integrations.proxies.traefik.routing import wanted_marker
from manor.integrations.proxies.traefik.switching import maintenance_content, maintenance_file, state_file, traffic_content

READ_AT_START = ("pages.go", "pages.yml", "traefik.yaml")


class Traefik(Proxy):
    """Router by files it watches; switches by a file a service, and waits the whole drain time."""

    name = "traefik"
    install = "pip install 'manor[traefik]'"
    options = Options
    traits = ProxyTraits(
        roles=frozenset({Role.ROUTER, Role.BALANCER}),
        default_for=frozenset({Role.ROUTER}),
        can_be_first=True,
        switch=Switch.TIMED,
        switch_checks=frozenset({"http"}),
        makes_request_ids=False,
        logs_slots=False,
        takes_no_part="its listeners (entry points) stand in its static file, so a file beside yours can add none",
        in_flight_source="none: Traefik counts open connections of an entry point, not requests of a server; a drain waits its whole time",
    )

    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        """Return its files."""
        return render(node)

    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        """Return its one process."""
        return commands.programs(node, read_options(node))

    def check(self, node: TierNode) -> Command:
        """Return the start of a throw-away instance; needs `sh`, `awk` and `curl` on the host."""
        return commands.check(node)

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return the errors in its log and the routers that it disabled."""
        return parse.problems(completed)

    def reload(self, node: TierNode) -> tuple[Act, ...]:
        """Return the switch of the link to the rendered file, which the running process watches."""
        return commands.reload(node)

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        """Tell whether the static file or the plugin's source differ; they are only read at the start."""
        return any(before.get(name) != after.get(name) for name in READ_AT_START)

    def ready(self, node: TierNode) -> HttpRequest:
        """Return the question for the last of our routers."""
        return commands.ready(node)

    def parse_ready(self, completed: Completed) -> str | None:
        """Return None if it is there."""
        return parse.readiness(completed)

    def loaded(self, node: TierNode) -> HttpRequest:
        """Return the question for the router whose name is the digest of the rendered file."""
        return commands.loaded(node, wanted_marker(node, read_options(node)))

    def parse_loaded(self, node: TierNode, completed: Completed) -> str | None:
        """Return None if it is there."""
        return None if completed.code == 200 else f"traefik answers {completed.code}: it has not taken over the rendered file"

    def version(self) -> Command:
        """Return `traefik version`."""
        return commands.version()

    def parse_version(self, completed: Completed) -> str:
        """Return e.g. `3.7.15`."""
        return parse.version(completed)

    def parse_access(self, line: str) -> AccessRecord | None:
        """Return the record of a line of its own JSON; the tier's name is not in it."""
        return parse.access(line, "")

    def rotate(self, node: TierNode) -> Literal["copytruncate"]:
        """Return copytruncate: it appends, so its log can be copied and cut off."""
        return "copytruncate"

    def switch_files(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
        """Return the service's state file; Traefik takes it over as soon as it is renamed into place."""
        touch = Touch(node.subject, Effect.INCLUDE)
        return (PutFile(state_file(node, service), traffic_content(node, service, traffic), touch=touch),)

    def switch(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        """Return nothing: writing the state file was it. `observe_switch` shows when the process has taken it over."""
        return ()

    def observe_switch(self, node: TierNode, service: ServiceView) -> HttpRequest:
        """Return the question to its API for the service's servers."""
        return commands.observe_switch(node, service)

    def parse_switch(self, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        """Return the servers. A server reads as healthy until its first check after any change of the files has failed."""
        return parse.servers(service, completed)

    def maintenance(self, node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
        """Return the file that shows the service's maintenance page while it exists, or its removal; the process watches for it."""
        file, touch = maintenance_file(node, service), Touch(node.subject, Effect.INCLUDE)
        return (PutFile(file, maintenance_content(node, service), touch=touch),) if on else (commands.remove(node, file.name),)

    def observe_maintenance(self, node: TierNode, service: ServiceView) -> HttpRequest:
        """Return the question to its API for the first of the page's routers."""
        return commands.observe_maintenance(node, service)

    def parse_maintenance(self, node: TierNode, service: ServiceView, completed: Completed) -> bool:
        """Tell whether the running process has it."""
        return parse.maintenance(service, completed)
