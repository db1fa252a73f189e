"""Idle, silence and drain times of every hop: one table from which each product renders its half (docs/traffic.md).

Invariant: on each hop the sender gives up an idle connection at least 2 s before the receiver would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RouteClass = Literal["page", "api", "upload", "callback", "websocket", "stream"]

MARGIN_SECONDS = 2.0
CLIENT_IDLE_SECONDS = 75.0
TIER_IDLE_SECONDS = 30.0
TIER_SEND_IDLE_SECONDS = 20.0
SERVICE_SEND_IDLE_SECONDS = 1.0
"""`web` and the program are on one host, so a new connection is cheap; and a program that is to end is soon without open ones."""
STOP_SECONDS, CLOSE_SECONDS = 30.0, 60.0
"""How long a program may take to end after its stop signal; the second if it has WebSockets to close."""


@dataclass(frozen=True)
class ClassTimes:
    """What a route class is allowed."""

    silence_seconds: float
    """Longest pause within an answer."""
    drain_seconds: float
    """How long old requests may take to finish when their server is taken out."""
    pause_seconds: float = 60.0
    """Longest pause within a request's body."""


CLASS_TIMES: dict[RouteClass, ClassTimes] = {
    "page": ClassTimes(60.0, 30.0),
    "api": ClassTimes(60.0, 30.0),
    "callback": ClassTimes(60.0, 30.0),
    "upload": ClassTimes(600.0, 600.0, 600.0),
    "websocket": ClassTimes(3600.0, 60.0),
    "stream": ClassTimes(3600.0, 60.0),
}


def accept_idle_seconds(place: int) -> float:
    """Return how long the tier at a place keeps an idle connection from the side before."""
    return CLIENT_IDLE_SECONDS if place == 0 else TIER_IDLE_SECONDS


def service_idle_seconds(keep_alive_seconds: float | None) -> float | None:
    """Return how long `web` may keep an idle connection to a program; None: not at all."""
    if keep_alive_seconds is None or keep_alive_seconds < MARGIN_SECONDS + 1:
        return None
    return min(keep_alive_seconds - MARGIN_SECONDS, SERVICE_SEND_IDLE_SECONDS)


def silence_seconds(classes: set[RouteClass]) -> float:
    """Return the longest pause that any of the classes allows."""
    return max((CLASS_TIMES[name].silence_seconds for name in classes), default=CLASS_TIMES["page"].silence_seconds)


def pause_seconds(classes: set[RouteClass]) -> float:
    """Return the longest pause in a request's body that any of the classes allows."""
    return max((CLASS_TIMES[name].pause_seconds for name in classes), default=CLASS_TIMES["page"].pause_seconds)


def tunnel_seconds() -> float:
    """Return how long a connection that was upgraded may be silent, whatever the class of its route."""
    return silence_seconds({"websocket", "stream"})


def stop_seconds(declared_seconds: float | None, classes: set[RouteClass]) -> float:
    """Return how long a program may take to end after its stop signal, unless it is declared: it closes WebSockets in that time."""
    if declared_seconds is not None:
        return declared_seconds
    return CLOSE_SECONDS if "websocket" in classes else STOP_SECONDS


def drain_seconds(classes: set[RouteClass]) -> float:
    """Return the longest drain that any of the classes asks for."""
    return max((CLASS_TIMES[name].drain_seconds for name in classes), default=CLASS_TIMES["page"].drain_seconds)
