"""What a plan risks: a health check or a port that has changed while the service runs by the former one (docs/apply.md, on the air).

Invariant: compares with the estate of the last apply that was done here; where that is not known, nothing is said.
"""

from __future__ import annotations

from manor.estate.model import Environment, Service
from manor.estate.ports import slot_ports
from manor.state import operations, releases
from manor.state.words import OperationState
from manor.workflows.context import Context
from manor.workflows.snapshots import LOOKED_BACK, kept_file, loaded

ASKED = {"http", "tcp", "command", "status"}
"""What of a health check decides whether a release answers it; the rest is its rhythm."""


async def find_risks(context: Context, environment: str) -> tuple[str, ...]:
    """Return a line for each service that runs and whose health check or port has changed since the last apply."""
    before = await last_applied(context, environment)
    if before is None:
        return ()
    rows = await context.store.read(releases.deployments, environment)
    running = sorted({row.service for row in rows if row.active is not None})
    now = context.environment(environment).services
    return tuple(line for name in running if name in now and name in before.services for line in risks(name, before.services[name], now[name]))


async def last_applied(context: Context, environment: str) -> Environment | None:
    """Return the environment as it was applied last; None if that is as now, or not known."""
    done = await context.store.read(operations.recent, environment, None, [OperationState.DONE], LOOKED_BACK)
    digest = next((one.estate_digest for one in done if one.verb == "apply"), "")
    if digest in ("", context.estate.digest) or not kept_file(context.store, digest).exists():
        return None
    former = loaded(kept_file(context.store, digest), context.store)
    return former.estate.environments.get(environment) if former is not None else None


def risks(name: str, before: Service, now: Service) -> tuple[str, ...]:
    """Return what of a service has changed that it can't follow while it runs."""
    found = []
    if before.health.model_dump(include=ASKED) != now.health.model_dump(include=ASKED):
        found.append(f"services.{name}.health has changed, and {name} runs: no tier is changed while too few of its instances answer the new check")
    if slot_ports(before) != slot_ports(now):
        key = "run.port" if now.run is not None else "port"
        found.append(f"services.{name}.{key} has changed, and {name} runs at the old one: no tier is changed while it does")
    return tuple(found)
