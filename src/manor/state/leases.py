"""Leases with fencing tokens: who may change what just now (docs/operations.md, leases).

Invariant: of two names of which one is the other or lies below it, at most one is held; each taking has a higher token than all before it.
Functions take a connection within a transaction of `Store.write`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import Busy, FencedOff
from manor.state import rows, tables
from manor.state.holder import Holder
from manor.state.holder import is_gone as is_gone_here

LIFETIME_SECONDS = 60.0
RENEW_SECONDS = 15.0

IsGone = Callable[[Holder, Holder], bool]


@dataclass(frozen=True)
class Lease:
    """A lease as it stands in the store."""

    name: str
    token: int
    operation: str
    machine: str
    boot: str
    namespace: str
    pid: int
    process_started: int
    acquired_at: float
    renewed_at: float
    expires_at: float

    @property
    def holder(self) -> Holder:
        """The process that took it."""
        return Holder(self.machine, self.boot, self.namespace, self.pid, self.process_started)


STANDING = sa.select(tables.leases).order_by(tables.leases.c.name)
RENEW = (
    tables.leases.update()
    .where((tables.leases.c.name == sa.bindparam("of_name")) & (tables.leases.c.token == sa.bindparam("of_token")))
    .values(renewed_at=sa.bindparam("renewed_at"), expires_at=sa.bindparam("expires_at"))
    .returning(tables.leases)
)


def lease_name(environment: str, service: str = "") -> str:
    """Return `<environment>` or `<environment>/<service>`."""
    return f"{environment}/{service}" if service else environment


def is_below(name: str, above: str) -> bool:
    """Tell whether holding `above` covers `name`."""
    return name == above or name.startswith(f"{above}/")


def exclude(one: str, other: str) -> bool:
    """Tell whether two leases can't be held at the same time."""
    return is_below(one, other) or is_below(other, one)


def acquire(connection: sa.Connection, name: str, operation: str, *, holder: Holder, now: float, is_gone: IsGone = is_gone_here) -> Lease:
    """Take a lease, succeeding holders that are provably gone or expired, with the next token. Raises Busy naming who, what, how long."""
    for lease in require_free(connection, name, holder=holder, now=now, is_gone=is_gone):
        connection.execute(tables.leases.delete().where(tables.leases.c.name == lease.name))
    taken = Lease(name, next_token(connection), operation, *identity(holder), now, now, now + LIFETIME_SECONDS)
    connection.execute(tables.leases.insert().values(**vars(taken)))
    return taken


def require_free(connection: sa.Connection, name: str, *, holder: Holder, now: float, is_gone: IsGone = is_gone_here) -> tuple[Lease, ...]:
    """Return the leases of the dead that are in the way of this one. Raises Busy if one of the living is."""
    in_the_way = tuple(lease for lease in standing(connection) if exclude(lease.name, name))
    for lease in in_the_way:
        if is_held(lease, holder, now, is_gone):
            raise Busy(busy_text(connection, lease, holder, now))
    return in_the_way


def renew(connection: sa.Connection, name: str, token: int, *, now: float) -> Lease:
    """Prolong a lease. A lease that ran out while nobody took it is still its holder's. Raises FencedOff if it was succeeded."""
    lease = rows.first_of(connection, RENEW, Lease, of_name=name, of_token=token, renewed_at=now, expires_at=now + LIFETIME_SECONDS)
    if lease is None:
        raise FencedOff(fenced_text(connection, name, token))
    return lease


def release(connection: sa.Connection, name: str, token: int) -> None:
    """Let go; nothing if it was succeeded already."""
    connection.execute(tables.leases.delete().where((tables.leases.c.name == name) & (tables.leases.c.token == token)))


def assign(connection: sa.Connection, token: int, operation: str) -> None:
    """Write which operation the lease of this token is held for, so that others can be told."""
    connection.execute(tables.leases.update().where(tables.leases.c.token == token).values(operation=operation))


def standing(connection: sa.Connection) -> tuple[Lease, ...]:
    """Return every lease that was taken and not let go, expired ones too."""
    return rows.all_of(connection, STANDING, Lease)


def is_held(lease: Lease, me: Holder, now: float, is_gone: IsGone = is_gone_here) -> bool:
    """Tell whether its holder may still act."""
    return now < lease.expires_at and not is_gone(lease.holder, me)


def next_token(connection: sa.Connection) -> int:
    """Return a number higher than all before."""
    counter = tables.counters
    if connection.execute(counter.update().where(counter.c.name == "token").values(value=counter.c.value + 1)).rowcount == 0:
        connection.execute(counter.insert().values(name="token", value=1))
    return int(connection.execute(sa.select(counter.c.value).where(counter.c.name == "token")).scalar_one())


def identity(holder: Holder) -> tuple[str, str, str, int, int]:
    """Return the holder as columns."""
    return holder.machine, holder.boot, holder.namespace, holder.pid, holder.process_started


def busy_text(connection: sa.Connection, lease: Lease, me: Holder, now: float) -> str:
    """Say what is under way, who carries it out, since when."""
    since = f"since {now - lease.acquired_at:.0f} s"
    where = "" if lease.machine == me.machine else f" on machine {lease.machine[:8]}"
    kind, _, rest = lease.name.partition(":")
    ways = "`--wait` waits for it, `manor status` shows it"
    if kind == "delivery":
        return f"this artifact{service_of(connection, rest)} is on its way already (delivery {rest}, pid {lease.pid}{where}, {since}); {ways}"
    if kind == "run":
        repository, _, ref = rest.partition(":")
        return f"a run of {repository} {ref.removeprefix('refs/heads/')} is under way already (pid {lease.pid}{where}, {since}); `manor run list` shows it"
    if lease.operation:
        return f"{lease.name} is held for operation {lease.operation} by process {lease.pid}{where} {since}; {ways}"
    return f"{lease.name} is held by process {lease.pid}{where} {since}, which is about to change it; {ways}"


def service_of(connection: sa.Connection, delivery: str) -> str:
    """Return whose artifact a delivery brings, as the rest of a noun; nothing if the delivery is not written down yet."""
    table = tables.deliveries
    found = connection.execute(sa.select(table.c.service).where(table.c.id == delivery)).scalar_one_or_none()
    return f" of {found}" if found else ""


def fenced_text(connection: sa.Connection, name: str, token: int) -> str:
    """Say by whom an executor was succeeded."""
    after = [lease for lease in standing(connection) if exclude(lease.name, name)]
    who = f"; now {after[0].name} is held for operation {after[0].operation} with token {after[0].token}" if after else ""
    return f"{name}: the lease with token {token} was succeeded{who}; this executor stops"
