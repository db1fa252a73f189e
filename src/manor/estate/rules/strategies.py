"""What a rollout strategy asks of the number of instances (docs/estate.md, rollout)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from manor.estate.model import Environment, Service
from manor.estate.placement import instances_of
from manor.estate.problems import Finding
from manor.estate.rules.context import Context


def check_strategies(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield services whose strategy would lose requests, or could never begin, with so many instances."""
    has_hosts = context.declared.own.child("hosts") is not None
    for name, service in environment.services.items():
        if service.rollout.strategy == "rolling":
            continue
        count = len(instances_of(environment, name))
        for finding in _check(service, count, environment, is_strict=environment.is_last or has_hosts):
            yield finding.below("services", name, "rollout")


def _check(service: Service, count: int, environment: Environment, *, is_strict: bool) -> Iterator[Finding]:
    rollout = service.rollout
    if rollout.strategy == "interrupt" and count > 1:
        yield Finding(("strategy",), f"interrupt is for one instance, {environment.name} has {count}; choose in_turn or rolling, or place it on one host")
    if rollout.strategy != "in_turn" or count < 1:
        return
    if count == 1:
        if is_strict:
            advice = "add a host, choose rolling, or choose interrupt and say longest_outage"
            yield Finding(("strategy",), f"in_turn with the single host of {environment.name} would lose requests; {advice}")
    elif count - 1 < rollout.least_healthy(count):
        least = math.floor(100 * (count - 1) / count)
        wrong = f"in_turn takes one of {count} instances of {environment.name} away, which min_healthy forbids; write {least}% or less"
        yield Finding(("min_healthy",), wrong)
