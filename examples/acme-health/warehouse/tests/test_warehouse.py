"""What must hold of the data before anybody sees it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

DATABASE = Path(__file__).parent.parent / "warehouse.db"


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    yield connection
    connection.close()


def one(database: sqlite3.Connection, query: str) -> object:
    return database.execute(query).fetchone()[0]


@pytest.mark.parametrize(("table", "least"), [("clinics", 10), ("orders", 100), ("suppliers", 8), ("visits", 180)])
def test_tables_are_filled(database: sqlite3.Connection, table: str, least: int) -> None:
    assert one(database, f"select count(*) from {table}") >= least  # type: ignore[operator]


def test_no_row_points_nowhere(database: sqlite3.Connection) -> None:
    assert database.execute("pragma foreign_key_check").fetchall() == []


def test_every_clinic_has_every_month(database: sqlite3.Connection) -> None:
    months = one(database, "select count(distinct month) from visits")
    short = "select clinic_id from visits group by clinic_id having count(*) <> ?"
    assert database.execute(short, (months,)).fetchall() == []


def test_numbers_are_plausible(database: sqlite3.Connection) -> None:
    assert one(database, "select count(*) from visits where no_shows > visits or mean_wait_minutes not between 0 and 240") == 0
    assert one(database, "select count(*) from orders where quantity <= 0 or total_cents <= 0") == 0


def test_nothing_identifies_a_person(database: sqlite3.Connection) -> None:
    columns = {row[0] for row in database.execute("select c.name from sqlite_master m join pragma_table_info(m.name) c where m.type = 'table'")}
    assert not columns & {"patient", "patient_id", "birth_date", "insurance_number", "email", "phone"}
