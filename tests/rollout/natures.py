"""How releases behave when they run, in the model's unit time."""

from __future__ import annotations

from dataclasses import dataclass

RETRY = 1.0
"""Seconds after which a supervisor starts a program again that ended by itself."""


@dataclass(frozen=True)
class Behaviour:
    """How a release behaves when it runs."""

    boot: float = 0.5
    """Seconds from the start to the first answer."""
    dies_after: float | None = None
    """Ends by itself so long after its start."""
    restarts_every: float | None = None
    """Flaps: another process of it so often."""
    answers: int = 200
    """What the health path answers."""
    dies_in_traffic_after: float | None = None
    """Ends by itself so long after it was first given traffic."""


@dataclass
class Program:
    """A program that was started in a slot."""

    release: str
    behaviour: Behaviour
    started_at: float
    is_dead: bool = False
    traffic_since: float | None = None
    died_at: float | None = None
    """When it last ended by itself; its supervisor tries it again."""

    def answers(self, now: float) -> bool:
        """Tell whether it accepts requests."""
        return not self.is_dead and now >= self.started_at + self.behaviour.boot

    def is_healthy(self, now: float) -> bool:
        """Tell whether its health path says so."""
        return self.answers(now) and self.behaviour.answers == 200

    def live(self, now: float) -> None:
        """Die or restart when its time has come."""
        nature = self.behaviour
        age = now - self.started_at
        if nature.restarts_every and age >= nature.restarts_every:
            self.started_at = now
        in_traffic = nature.dies_in_traffic_after is not None and self.traffic_since is not None and now - self.traffic_since >= nature.dies_in_traffic_after
        if self.is_dead and self.died_at is not None and now - self.died_at >= RETRY:
            self.started_at, self.is_dead, age = now, False, 0.0
        was_dead = self.is_dead
        self.is_dead = self.is_dead or in_traffic or (nature.dies_after is not None and age >= nature.dies_after)
        self.died_at = now if self.is_dead and not was_dead else self.died_at
