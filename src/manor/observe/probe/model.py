"""What is asked, and what came of each request.

Invariant: plain values; times of an outcome are seconds since 1970, on a clock that does not jump while the probe runs.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Lane(StrEnum):
    """Over what a request was sent."""

    NEW = "new"
    """A TCP (and TLS) connection of its own."""
    KEPT = "kept"
    """A connection that served requests before, or will."""


class LossKind(StrEnum):
    """Why a request counts as lost (docs/receipt.md)."""

    REFUSED = "refused"
    """No connection: refused, or no way there."""
    TLS = "tls"
    """The handshake failed."""
    RESET = "reset"
    """The connection ended before the first byte of the answer."""
    TRUNCATED = "truncated"
    """The answer began and did not end, or is no HTTP."""
    TIMED_OUT = "timed_out"
    """No whole answer in time."""
    BAD_STATUS = "bad_status"
    """A whole answer with a status that was not expected."""


def checked_address(address: str) -> str:
    """Return an IP address. Raises ValueError for a name."""
    return str(ipaddress.ip_address(address))


class Target(BaseModel):
    """One kind of request, at its own rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: Annotated[str, AfterValidator(checked_address)]
    """An IP address; names are never resolved."""
    port: int = Field(ge=1, le=65535)
    host: str
    """The Host header, and the TLS server name."""
    rate: float = Field(gt=0)
    """Requests a second."""
    method: str = Field(default="GET", pattern="[A-Z]+")
    paths: tuple[str, ...] = Field(default=("/",), min_length=1)
    """Asked in turn."""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    tls: bool = True
    ca_file: str | None = None
    """The authority that must have signed; None: those of the system."""
    share_new: float = Field(default=0.5, ge=0, le=1)
    """Share of requests on new connections."""
    expected: tuple[int, ...] | None = None
    """Statuses that are no loss; None: 200 to 399."""
    follows_baseline: bool = False
    """Of the expected ones, a class above 399 counts as lost unless it was answered before anything was touched (`summary.judged`)."""
    timeout_seconds: float = Field(default=10.0, gt=0)
    idle_seconds: float = Field(default=20.0, gt=0)
    """A kept connection that was idle for longer is closed, not used; well below the first tier's 75 s."""


class ProbeConfig(BaseModel):
    """What one probe does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    targets: tuple[Target, ...] = Field(min_length=1)
    results: str | None = None
    """Where a probe process appends its results."""
    stop_file: str | None = None
    """A probe process ends when this file is there."""
    deadline: float | None = None
    """A probe process ends at this time, seconds since 1970, whatever happens."""


class Outcome(NamedTuple):
    """One request that was sent."""

    target: int
    """Index in the configuration."""
    lane: Lane
    due: float
    sent: float
    """When the probe came to it; later than `due` means that the probe itself was slow."""
    done: float
    status: int
    """0: no answer."""
    kind: LossKind | None
    """None: answered as expected."""

    @property
    def seconds(self) -> float:
        """Latency as a client sees it whose request was due then."""
        return self.done - self.due


class Loss(NamedTuple):
    """A lost request, in the words of the receipt."""

    target: str
    lane: Lane
    due: float
    seconds: float
    status: int
    kind: LossKind
