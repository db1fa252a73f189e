"""Services as they are: in which environments, which release, how many instances; and a restart of one, and its end.

Invariant: a restart is an ordinary rollout of the same artifact under the present configuration: no request is lost, and there is a receipt.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.errors import UsageError
from manor.estate.layout import short
from manor.operations.planning import Result
from manor.state import releases
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered, finish, heard_in
from manor.workflows.removing import VERB as REMOVAL
from manor.workflows.removing import begin_removal, require_undeclared
from manor.workflows.rolling import Carrying, Rollout, carry_out_rollout, prepare_rollout
from manor.workflows.taking_over import coming_to, take_over

RESTART = "restart"


@dataclass(frozen=True)
class ServiceRow:
    """A service in one environment."""

    environment: str
    service: str
    is_declared: bool
    certified: str
    """Short id; empty: nothing was certified yet."""
    instances: tuple[str, ...]
    """Hosts that carry one."""


async def list_services(context: Context, environments: tuple[str, ...]) -> list[ServiceRow]:
    """Return every service that is declared or still runs, by environment and name."""
    return [await service_row(context, name, service) for name in environments for service in await services_in(context, name)]


async def services_in(context: Context, environment: str) -> list[str]:
    """Return the services that are declared in an environment or have instances there."""
    there = {row.service for row in await context.store.read(releases.deployments, environment)}
    return sorted(there | set(context.environment(environment).services))


async def service_row(context: Context, environment: str, service: str) -> ServiceRow:
    """Return how one service stands in the store."""
    certified = await context.store.read(releases.last_certified, environment, service)
    rows = await context.store.read(releases.deployments, environment, service)
    is_declared = service in context.environment(environment).services
    return ServiceRow(environment, service, is_declared, short(certified.id) if certified else "", tuple(sorted(row.host for row in rows)))


async def restart_service(context: Context, service: str, environment: str, carrying: Carrying) -> Delivered:
    """Replace every instance by a new one of the certified artifact. Raises UsageError if nothing is certified, and what a rollout raises."""
    await take_over(context, coming_to(context, RESTART, environment, service), carrying)
    rollout = await prepare_restart(context, service, environment)
    return await finish(context, environment, await carry_out_rollout(rollout, heard_in(carrying, environment), RESTART), rollout.order.release)


async def prepare_restart(context: Context, service: str, environment: str) -> Rollout:
    """Return the rollout that restarts a service. Raises UsageError if nothing of it is certified."""
    certified = await context.store.read(releases.last_certified, environment, service)
    if certified is None:
        raise UsageError(f"nothing of {service} is certified in {environment} yet; `manor ship {service}` brings the first release")
    return await prepare_rollout(context, environment, service, certified.artifact)


async def remove_service(context: Context, service: str, environment: str, carrying: Carrying) -> Result | None:
    """Remove a service after what was left of it; None if there is nothing of it. Raises UsageError while it is declared, and what its steps mean."""
    require_undeclared(context, service, environment)
    await take_over(context, coming_to(context, REMOVAL, environment, service), carrying)
    result = await begin_removal(context, service, environment, carrying)
    if result is not None:
        result.raise_unless_done()
    return result
