"""Varnish behind the contract of a tier's product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from manor.estate.topology import ProxyTraits, Role, TierNode
from manor.execution.values import Act, Command, Completed
from manor.integrations.proxies.base import AccessRecord, Proxy, RenderedFile, TierProgram
from manor.integrations.proxies.varnish import commands, parse
from manor.integrations.proxies.varnish.extra import PLACES
from manor.integrations.proxies.varnish.options import Options
from manor.integrations.proxies.varnish.render import read_options, render, wanted_vcl


class Varnish(Proxy):
    """Cache between two tiers; does not switch."""

    name = "varnish"
    options = Options
    traits = ProxyTraits(
        roles=frozenset({Role.CACHE}),
        default_for=frozenset({Role.CACHE}),
        takes_no_part="its VCL is one whole, which no file beside yours can add to",
        extra_places=frozenset(PLACES),
        in_flight_source="none: it does not switch",
    )

    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        """Return its files."""
        return render(node)

    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        """Return the cache and the reader of its log."""
        return commands.programs(node, read_options(node))

    def check(self, node: TierNode) -> Command:
        """Return `varnishd -C`."""
        return commands.check(node)

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return the compiler's words."""
        return parse.problems(completed)

    def reload(self, node: TierNode) -> tuple[Act, ...]:
        """Return the load of VCL and parameters; nothing is lost and what is stored stays."""
        return (commands.reload(node),)

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        """Tell that it never does: VCL and parameters change while it runs. Changed storage or listeners are a changed command line."""
        return False

    def ready(self, node: TierNode) -> Command:
        """Return `varnishadm status`."""
        return commands.ready(node)

    def parse_ready(self, completed: Completed) -> str | None:
        """Return None if its worker runs."""
        return parse.readiness(completed)

    def loaded(self, node: TierNode) -> Command:
        """Return `varnishadm vcl.list`."""
        return commands.loaded(node)

    def parse_loaded(self, node: TierNode, completed: Completed) -> str | None:
        """Return None if the active VCL bears the digest of the rendered one."""
        return parse.loaded(completed, wanted_vcl(node))

    def version(self) -> Command:
        """Return `varnishd -V`."""
        return commands.version()

    def parse_version(self, completed: Completed) -> str:
        """Return e.g. `7.1.1`."""
        return parse.version(completed)

    def parse_access(self, line: str) -> AccessRecord | None:
        """Return the record of a line that varnishncsa wrote."""
        return parse.access(line)

    def rotate(self, node: TierNode) -> Literal["copytruncate"]:
        """Return copytruncate: varnishncsa appends."""
        return "copytruncate"
