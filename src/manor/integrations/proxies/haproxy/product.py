"""HAProxy, as the contract of proxies wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from manor.estate.topology import ProxyTraits, Role, ServiceView, Switch, TierNode, TrafficState
from manor.execution.values import Act, Command, Completed, FileAct
from manor.integrations.proxies.base import AccessRecord, Proxy, RenderedFile, ServerView, TierProgram
from manor.integrations.proxies.haproxy import commands, parse
from manor.integrations.proxies.haproxy.options import HAProxyOptions
from manor.integrations.proxies.haproxy.part import HAProxyPart
from manor.integrations.proxies.haproxy.paste import paste
from manor.integrations.proxies.haproxy.render import digest_of, render


class HAProxy(Proxy):
    """Balances, counts what is in flight, and reloads without a loss."""

    name = "haproxy"
    options = HAProxyOptions
    part = HAProxyPart()
    traits = ProxyTraits(
        roles=frozenset({Role.BALANCER, Role.ROUTER}),
        default_for=frozenset({Role.BALANCER}),
        can_be_first=True,
        switch=Switch.COUNTED,
        switch_checks=frozenset({"http", "tcp", "command"}),
        makes_request_ids=True,
        takes_part={"include": frozenset({"into", "main", "pid", "socket"}), "runtime": frozenset({"socket"})},
        extra_places=frozenset({"backend", "frontend"}),
        in_flight_source="`scur` and `qcur` of `show stat`, per server",
    )

    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        """Return haproxy.cfg and its maps; where Manor writes no file, what is to be pasted."""
        return render(node) if node.has_files else paste(node)

    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        """Return the master."""
        return (commands.program(node),)

    def check(self, node: TierNode) -> Command:
        """Return `haproxy -c`."""
        return commands.check(node)

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return its alerts."""
        return parse.parse_check(completed)

    def reload(self, node: TierNode) -> tuple[Act, ...]:
        """Return the reload through the master."""
        return (commands.reload(node),)

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        """Return False: the master starts a worker with whatever the new files say; the sockets' places never change."""
        return False

    def ready(self, node: TierNode) -> Act:
        """Return `show info`."""
        return commands.ready(node)

    def parse_ready(self, completed: Completed) -> str | None:
        """Return what is wrong, if anything."""
        return parse.parse_ready(completed)

    def loaded(self, node: TierNode) -> Act:
        """Return the question for the digest of the files."""
        return commands.loaded(node)

    def parse_loaded(self, node: TierNode, completed: Completed) -> str | None:
        """Return None if the worker works by the node's files."""
        return parse.parse_loaded(node, digest_of(node), completed)

    def version(self) -> Command:
        """Return `haproxy -v`."""
        return commands.version()

    def parse_version(self, completed: Completed) -> str:
        """Return e.g. `2.6.12`."""
        return parse.parse_version(completed)

    def parse_access(self, line: str) -> AccessRecord | None:
        """Return the record of a line."""
        return parse.parse_access(line, "")

    def rotate(self, node: TierNode) -> Literal["copytruncate"]:
        """Return copytruncate: the log is the standard output, opened to append by the wrapper."""
        return "copytruncate"

    def switch_files(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
        """Return the service's server-state file."""
        return commands.switch_files(node, service, traffic)

    def switch(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        """Return `set server …` for each of these servers, those to be ready first."""
        return commands.switch(node, service, traffic)

    def observe_switch(self, node: TierNode, service: ServiceView) -> Act:
        """Return `show servers state` and `show stat` in one."""
        return commands.observe_switch(node, service)

    def parse_switch(self, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        """Return the servers."""
        return parse.parse_switch(service, completed)

    def maintenance(self, node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
        """Return the acts that show the maintenance page, or end it."""
        return commands.maintenance(node, service, on)

    def observe_maintenance(self, node: TierNode, service: ServiceView) -> Act:
        """Return `show servers state` of the backend whose server is up while the page is shown."""
        return commands.observe_maintenance(node, service)

    def parse_maintenance(self, node: TierNode, service: ServiceView, completed: Completed) -> bool:
        """Tell whether it shows it."""
        return parse.parse_maintenance(service, completed)
