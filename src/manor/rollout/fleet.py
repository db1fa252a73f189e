"""What a rollout can see and do: slots, programs, switching tiers, probe.

Invariant: rollouts act through this only, so that the same plan runs on real tiers and on a model of them in unit time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from manor.estate.layout import instance_name, server_name
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramView
from manor.operations.step import Here
from manor.rollout.losses import NOTHING, Count, Losses, SoFar

SlotLetter = Literal["a", "b"]


@dataclass(frozen=True)
class SlotRef:
    """One slot of one instance."""

    service: str
    host: str
    slot: SlotLetter

    @property
    def instance(self) -> str:
        """The instance that it belongs to."""
        return instance_name(self.service, self.host)

    @property
    def server(self) -> str:
        """Its name in the switching tiers."""
        return server_name(self.host, self.slot)


@dataclass(frozen=True)
class Balancer:
    """One switching tier on one host."""

    host: str
    key: str
    is_counted: bool


@dataclass(frozen=True)
class Checked:
    """One health check from the instance's own host."""

    passed: bool
    detail: str


@dataclass(frozen=True)
class ProbeSummary:
    """What the outside probe saw."""

    sent: int
    lost: int
    first_losses: tuple[str, ...] = ()
    gap: str = ""
    """Why the recording does not cover the rollout, so that nobody knows what was lost meanwhile; empty: it does."""
    outage_seconds: float = 0.0
    """The longest stretch without an answer since something was touched."""
    sent_before: int = 0
    lost_before: int = 0
    """Before anything was touched."""
    late: Count = NOTHING
    """Of these, the ones that ended in the second half of that time."""
    alone: Count = NOTHING
    """Since the new release serves alone."""

    @property
    def losses(self) -> Losses:
        """What it means for the rollout."""
        return Losses(self.sent, self.lost, self.sent_before, self.lost_before, self.late, self.alone)

    @property
    def is_whole(self) -> bool:
        """Tell whether the rollout was measured to its end."""
        return not self.gap

    def __str__(self) -> str:
        """Return it for people."""
        before = f", {self.lost_before} of them before anything was touched" if self.lost_before else ""
        return f"sent {self.sent}, lost {self.lost}{before}{f'; not measured to its end: {self.gap}' if self.gap else ''}"


class Fleet(Protocol):
    """A service's instances in one environment, and what stands before them."""

    @property
    def balancers(self) -> tuple[Balancer, ...]:
        """Every switching tier that may send traffic to the service's slots."""
        ...

    def alone(self) -> AbstractAsyncContextManager[object]:
        """Bound a look and the act that rests on it: within the body no other step of this fleet takes a server out of traffic."""
        ...

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def fence(self, slots: tuple[SlotRef, ...], here: Here) -> None:
        """Have the hosts of slots and of every balancer refuse whoever came before. Raises FencedOff if one has seen a newer token."""
        ...

    async def preflight(self, slots: tuple[SlotRef, ...], release: str) -> tuple[str, ...]:
        """Return what stands in the way of the rollout: dead admin sockets, busy ports, full disks, missing artifacts. Changes nothing."""
        ...

    async def undeclared(self, slots: tuple[SlotRef, ...]) -> tuple[str, ...]:
        """Return which tiers of the slots' hosts and of the balancers' do not work by the files that the estate declares now. Changes nothing."""
        ...

    async def placed(self, slot: SlotRef) -> str:
        """Return the release that the slot holds, whole with environment and start script; empty: none."""
        ...

    async def place(self, slot: SlotRef, release: str, here: Here) -> None:
        """Put the release into the slot. Its program must not run."""
        ...

    async def oddity(self, slot: SlotRef, release: str) -> str:
        """Return in words what the slot holds that is neither the release, whole, nor what is remembered of it, nor nothing; empty: one of these."""
        ...

    async def empty(self, slot: SlotRef, here: Here) -> None:
        """Have the slot hold no release. Raises ManorError if its program runs."""
        ...

    async def is_wanted(self, slot: SlotRef) -> bool:
        """Tell whether the slot's program is to run also after a restart of its host."""
        ...

    async def program(self, slot: SlotRef) -> ProgramView | None:
        """Return how the slot's program stands; None for a service without one."""
        ...

    async def lives(self, slot: SlotRef) -> bool:
        """Tell whether any process of the slot's program lives, also while its supervisor is dead."""
        ...

    async def start(self, slot: SlotRef, here: Here) -> None:
        """Have the slot's program run, also after a restart of the host. Starting a running one is no error."""
        ...

    async def stop(self, slot: SlotRef, here: Here) -> None:
        """End the slot's program by the declared signal, then by force; returns when it is gone."""
        ...

    async def connections(self, slot: SlotRef) -> int | None:
        """Return how many connections are open to the slot's program, whoever opened them; None where there is none, or it can't be known."""
        ...

    async def check(self, slot: SlotRef) -> Checked:
        """Check the slot's health once, on its host."""
        ...

    async def check_program(self, slot: SlotRef) -> Checked:
        """Check the health of the slot's program once at its own port, past every tier; as `check` where that is not possible."""
        ...

    async def disturbed(self, since: float) -> tuple[str, ...]:
        """Return which tiers do not run, or were started after a moment, in words."""
        ...

    async def last_words(self, slot: SlotRef) -> str:
        """Return the last lines that the slot's program wrote since it was started."""
        ...

    async def traffic(self, balancer: Balancer, service: str) -> tuple[ServerView, ...]:
        """Return how a balancer treats the service's servers."""
        ...

    async def set_traffic(self, service: str, changes: Mapping[str, TrafficState], here: Here) -> None:
        """Bring servers to a state on every balancer, remembered over their restarts."""
        ...

    async def held(self, service: str) -> Mapping[str, str]:
        """Return the servers that are to serve and that a person took out of traffic: on which balancers, and the commands that end it."""
        ...

    async def guard(self, slot: SlotRef, instead: tuple[SlotRef, ...], here: Here) -> str:
        """Have every balancer's host return the slot to traffic when nobody goes on for too long, it works, and nothing of `instead` does.

        Kept alive by `sleep`. Returns where there is no such guard and why; empty: everywhere there is one.
        """
        ...

    async def unguard(self, slot: SlotRef, here: Here) -> bool:
        """End that; tell whether a guard returned the slot in this operation."""
        ...

    async def set_maintenance(self, service: str, here: Here, *, on: bool) -> None:
        """Show the maintenance page, or end it."""
        ...

    async def page_differs(self, service: str, *, on: bool) -> str:
        """Return which balancers' hosts show the maintenance page though it is to be off, or the other way round; empty: none."""
        ...

    async def start_probe(self, service: str, here: Here) -> None:
        """Have the outside probe run until it is stopped or the operation's time is long up, whatever becomes of this process.

        One that runs goes on, one that has ended is followed by another.
        """
        ...

    async def probed(self, service: str, here: Here) -> SoFar:
        """Return what the outside probe has seen so far, before anything is touched."""
        ...

    async def stop_probe(self, service: str, here: Here) -> ProbeSummary:
        """End the outside probe and return what it saw; asking again gives the same."""
        ...

    async def active(self, service: str, host: str) -> SlotLetter | None:
        """Return the slot that is remembered to serve on a host; None: none."""
        ...

    async def is_remembered(self, slot: SlotRef) -> bool:
        """Tell whether the slot is remembered to serve, and to have traffic."""
        ...

    async def set_active(self, service: str, host: str, slot: SlotLetter | None, here: Here) -> None:
        """Remember which slot serves on a host."""
        ...

    async def progressed_at(self, here: Here) -> float:
        """Return when an instance of this operation last became healthy or an old one was emptied, else when it began."""
        ...

    async def set_phase(self, phase: str, here: Here) -> None:
        """Remember where the rollout is, for people."""
        ...

    async def certify(self, service: str, release: str, here: Here) -> None:
        """Remember that the release held: it is now what a rollback returns to, and the phase is `certified`, both or neither."""
        ...

    async def standing(self, service: str, release: str, here: Here) -> str:
        """Return what this operation has remembered of the release: certified or burned; empty: nothing."""
        ...

    async def burn(self, service: str, release: str, why: str, here: Here) -> None:
        """Remember that the release failed here; a certified one keeps its standing."""
        ...
