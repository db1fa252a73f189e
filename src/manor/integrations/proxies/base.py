"""The contract of a tier's product: pure functions from a `TierNode` to files and acts, and from output to values.

Invariant: nothing here or in a product acts; `reconcile` and `rollout` carry the acts out through a runner.
How to add a product: README.md beside this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from manor.estate.topology import ProxyTraits, ServiceView, TierNode, TrafficState
from manor.execution.values import Act, Command, Completed, FileAct, HostPath
from manor.integrations.proxies.parts import Part


@dataclass(frozen=True)
class RenderedFile:
    """A native file, by its place under the tier's `etc` folder."""

    name: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True)
class TierProgram:
    """A process that a tier consists of; in the foreground, logging to files or to its standard output."""

    name: str
    """`tier-<key>`, or that with a suffix for a second process."""
    argv: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_seconds: float = 30.0
    stdout: HostPath | None = None
    """Where the wrapper sends standard output; default the program's own log."""
    starts_after: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerView:
    """How a switching tier sees one server."""

    name: str
    traffic: TrafficState
    is_healthy: bool | None
    """Checks pass; None: not known (not checked, or too early)."""
    in_flight: int | None = None
    """Requests being answered or queued for it, WebSockets among them; None where the product does not know."""
    requests: int | None = None
    """Requests since the process began."""
    detail: str = ""
    """The product's own word, e.g. `DRAIN 1/2`."""
    websockets: int = 0
    """How many of those in flight are open WebSockets, as far as the product tells them apart: they end when the program closes them."""


@dataclass(frozen=True)
class AccessRecord:
    """One line of a tier's access log (docs/access-log.md)."""

    time: float
    """Seconds since 1970, when the request was complete."""
    tier: str
    request_id: str
    service: str
    method: str
    host: str
    path: str
    """Without query."""
    status: int
    upstream_status: int | None
    """The status that the next hop gave; None: it gave none."""
    ended_by: Literal["done", "client", "us"]
    """done: answered. client: went away before. us: given up by this tier (refused, reset, timed out)."""
    seconds: float
    bytes: int
    slot: str
    """`a`, `b` or empty."""
    cache: str
    """`hit`, `miss`, `pass` or empty."""


class Proxy(ABC):
    """A product that accepts requests and passes them on."""

    name: str
    traits: ProxyTraits
    options: type[BaseModel]
    part: Part | None = None
    """How it takes part in a program that somebody else runs; None: it can't be told to."""
    install: str = ""
    """The command that installs it; empty: the Debian package of its name."""

    @abstractmethod
    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        """Return its files, sorted by name; a function of the node alone. Raises InvalidEstate for options it refuses."""

    @abstractmethod
    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        """Return the processes that run the files."""

    @abstractmethod
    def check(self, node: TierNode) -> Command:
        """Return the vendor's own check of the files under `node.folders.etc` (a staging folder); starts nothing that stays."""

    @abstractmethod
    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return what it refuses, in its words; empty: accepted."""

    @abstractmethod
    def reload(self, node: TierNode) -> tuple[Act, ...]:
        """Return the acts that make a running process take its files as they are now, without losing a request."""

    @abstractmethod
    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        """Tell whether a change between these files (by name) is more than a reload can take over."""

    @abstractmethod
    def ready(self, node: TierNode) -> Act:
        """Return an act that succeeds only when the process answers on its admin side."""

    @abstractmethod
    def parse_ready(self, completed: Completed) -> str | None:
        """Return None if it is ready, else what is wrong."""

    def loaded(self, node: TierNode) -> Act:
        """Return an act that reads which files the running process works by; default the same as `ready`."""
        return self.ready(node)

    def parse_loaded(self, node: TierNode, completed: Completed) -> str | None:
        """Return None if the process works by the files that `render(node)` gives, else what is wrong; ask until then after a reload."""
        return self.parse_ready(completed)

    @abstractmethod
    def version(self) -> Command:
        """Return the command that prints its version."""

    @abstractmethod
    def parse_version(self, completed: Completed) -> str:
        """Return e.g. `2.6.12`."""

    @abstractmethod
    def parse_access(self, line: str) -> AccessRecord | None:
        """Return the record of one line of its access log; None for a line that is not one (its own messages)."""

    @abstractmethod
    def rotate(self, node: TierNode) -> Literal["copytruncate"] | tuple[Act, ...]:
        """Return how its access log is rotated: the acts that make it reopen a renamed file, or copytruncate."""

    def switch_files(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
        """Return the state file(s) with which a restart comes back with this traffic. `traffic` has every server of the service."""
        raise NotImplementedError(f"{self.name} does not switch")

    def switch(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        """Return the acts that bring a running process to this traffic; idempotent, after `switch_files` was written.

        `traffic` has the servers that are to change; the acts say nothing of others, of whom somebody else may have said something.
        """
        raise NotImplementedError(f"{self.name} does not switch")

    def observe_switch(self, node: TierNode, service: ServiceView) -> Act:
        """Return the act that reads how the running process treats the service's servers."""
        raise NotImplementedError(f"{self.name} does not switch")

    def parse_switch(self, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        """Return the servers, sorted by name. Raises Unreachable for the answer of one that is just starting."""
        raise NotImplementedError(f"{self.name} does not switch")

    def maintenance(self, node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
        """Return the acts, files first, that show the maintenance page in place of the service, over restarts too; or end that."""
        raise NotImplementedError(f"{self.name} does not switch")

    def observe_maintenance(self, node: TierNode, service: ServiceView) -> Act:
        """Return the act that reads whether the running process shows the maintenance page."""
        raise NotImplementedError(f"{self.name} does not switch")

    def parse_maintenance(self, node: TierNode, service: ServiceView, completed: Completed) -> bool:
        """Tell whether it shows it. Raises ManorError if it does not say."""
        raise NotImplementedError(f"{self.name} does not switch")
