"""nginx, as the contract of proxies wants it."""

from __future__ import annotations

from collections.abc import Mapping

from manor.estate.topology import ProxyTraits, Role, ServiceView, Switch, TierNode, TrafficState
from manor.execution.values import Act, Command, Completed, FileAct
from manor.integrations.proxies.base import AccessRecord, Proxy, RenderedFile, ServerView, TierProgram
from manor.integrations.proxies.nginx import commands, parse
from manor.integrations.proxies.nginx.options import NginxOptions
from manor.integrations.proxies.nginx.part import NginxPart
from manor.integrations.proxies.nginx.render import digest_of, render


class Nginx(Proxy):
    """Stands beside the program: slots, static files; alone, it is a whole chain."""

    name = "nginx"
    options = NginxOptions
    part = NginxPart()
    traits = ProxyTraits(
        roles=frozenset({Role.WEB}),
        default_for=frozenset({Role.WEB}),
        can_be_first=True,
        switch=Switch.TIMED,
        switch_checks=frozenset(),
        makes_request_ids=True,
        takes_part={"include": frozenset({"into", "main", "pid"})},
        extra_places=frozenset({"server"}),
        in_flight_source="none: open-source nginx counts connections, not requests per server; a drain lasts its whole time",
        reload_loses="a POST that is sent on a kept connection in the moment in which an old worker closes it",
    )

    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        """Return nginx.conf and its types."""
        return render(node)

    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        """Return the master."""
        return (commands.program(node),)

    def check(self, node: TierNode) -> Command:
        """Return `nginx -t`."""
        return commands.check(node)

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return its complaints."""
        return parse.parse_check(completed)

    def reload(self, node: TierNode) -> tuple[Act, ...]:
        """Return the reload; old workers close idle connections, so a POST on one of them may be lost (README)."""
        return (commands.signal(node, "reload"),)

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        """Return False: a reload takes over everything that is rendered."""
        return False

    def ready(self, node: TierNode) -> Act:
        """Return the question for its numbers."""
        return commands.ask(node, "/status")

    def parse_ready(self, completed: Completed) -> str | None:
        """Return what is wrong, if anything."""
        return parse.parse_ready(completed)

    def loaded(self, node: TierNode) -> Act:
        """Return the question for the digest of the files."""
        return commands.ask(node, "/config")

    def parse_loaded(self, node: TierNode, completed: Completed) -> str | None:
        """Return None if the workers work by the node's files."""
        return parse.parse_loaded(digest_of(node), completed)

    def version(self) -> Command:
        """Return `nginx -v`."""
        return commands.version()

    def parse_version(self, completed: Completed) -> str:
        """Return e.g. `1.22.1`."""
        return parse.parse_version(completed)

    def parse_access(self, line: str) -> AccessRecord | None:
        """Return the record of a line."""
        return parse.parse_access(line, "")

    def rotate(self, node: TierNode) -> tuple[Act, ...]:
        """Return the act that reopens a renamed log."""
        return (commands.signal(node, "reopen"),)

    def switch_files(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
        """Return the flags; they take effect at the next request."""
        return commands.switch_files(node, service, traffic)

    def switch(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        """Return nothing: the flags were all."""
        return ()

    def observe_switch(self, node: TierNode, service: ServiceView) -> Act:
        """Return the question how the process sees the flags."""
        return commands.ask(node, f"/switch/{service.name}")

    def parse_switch(self, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        """Return this host's servers."""
        return parse.parse_switch(node, service, completed)

    def maintenance(self, node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
        """Return the acts that show the maintenance page, or end it."""
        return commands.maintenance(node, service, on)

    def observe_maintenance(self, node: TierNode, service: ServiceView) -> Act:
        """Return the question how the process sees the page's flag."""
        return commands.ask(node, f"/switch/{service.name}")

    def parse_maintenance(self, node: TierNode, service: ServiceView, completed: Completed) -> bool:
        """Tell whether it shows it."""
        return parse.parse_maintenance(service, completed)
