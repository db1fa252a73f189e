"""From rows to frozen dataclasses, by the names of the columns.

A statement that is asked at every step is made once, with bound parameters: making it anew costs more than SQLite takes to answer it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def all_of(connection: sa.Connection, query: sa.Executable, shape: type[T], **parameters: Any) -> tuple[T, ...]:
    """Return every row as `shape`, whose fields bear the columns' names; `parameters` are the query's bound ones."""
    return tuple(shape(**row) for row in connection.execute(query, parameters).mappings())


def first_of(connection: sa.Connection, query: sa.Executable, shape: type[T], **parameters: Any) -> T | None:
    """Return the first row as `shape`, or None; a query that may find many says `limit(1)` itself."""
    row = connection.execute(query, parameters).mappings().first()
    return None if row is None else shape(**row)
