"""Numbers, ports and loopback addresses that environments and local hosts keep.

Invariant: one address belongs to one host, one number to one environment, until it is given back.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from manor.state import rows, tables


@dataclass(frozen=True)
class EnvironmentPlace:
    """The n-th environment of this machine and its pair of ports on 127.0.0.1."""

    name: str
    number: int
    http_port: int
    https_port: int


@dataclass(frozen=True)
class HostPlace:
    """The loopback address of a local host."""

    environment: str
    host: str
    address: str


def keep_environment(connection: sa.Connection, place: EnvironmentPlace) -> EnvironmentPlace:
    """Write the place of an environment, or return the one that it has. Raises sqlalchemy's IntegrityError if the number is another's."""
    there = find_environment(connection, place.name)
    if there is None:
        connection.execute(tables.environments.insert().values(**vars(place)))
    return there or place


def find_environment(connection: sa.Connection, name: str) -> EnvironmentPlace | None:
    """Return the place of an environment, or None."""
    return rows.first_of(connection, sa.select(tables.environments).where(tables.environments.c.name == name), EnvironmentPlace)


def environments(connection: sa.Connection) -> tuple[EnvironmentPlace, ...]:
    """Return all environments' places by number."""
    return rows.all_of(connection, sa.select(tables.environments).order_by(tables.environments.c.number), EnvironmentPlace)


def keep_host(connection: sa.Connection, place: HostPlace) -> None:
    """Write the address of a host, in the place of an earlier one. Raises sqlalchemy's IntegrityError if it is another host's."""
    written = insert(tables.addresses).values(**vars(place))
    connection.execute(written.on_conflict_do_update(index_elements=["environment", "host"], set_={"address": place.address}))


def hosts(connection: sa.Connection, environment: str | None = None) -> tuple[HostPlace, ...]:
    """Return the hosts' addresses, of one environment if given."""
    query = sa.select(tables.addresses).order_by(tables.addresses.c.environment, tables.addresses.c.host)
    return rows.all_of(connection, query if environment is None else query.where(tables.addresses.c.environment == environment), HostPlace)


def give_back(connection: sa.Connection, environment: str, host: str | None = None) -> None:
    """Forget the address of a host; without `host`, all that an environment has."""
    mine = tables.addresses.c.environment == environment
    connection.execute(tables.addresses.delete().where(mine if host is None else mine & (tables.addresses.c.host == host)))
    if host is None:
        connection.execute(tables.environments.delete().where(tables.environments.c.name == environment))
