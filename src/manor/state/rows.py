"""From rows to frozen dataclasses, by the names of the columns."""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def all_of(connection: sa.Connection, query: sa.Select[Any], shape: type[T]) -> tuple[T, ...]:
    """Return every row as `shape`, whose fields bear the columns' names."""
    return tuple(shape(**row) for row in connection.execute(query).mappings())


def first_of(connection: sa.Connection, query: sa.Select[Any], shape: type[T]) -> T | None:
    """Return the first row as `shape`, or None."""
    row = connection.execute(query.limit(1)).mappings().first()
    return None if row is None else shape(**row)
