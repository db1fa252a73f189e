"""Builds warehouse.db from the CSV files in data/: the same files make the same database, byte for byte."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import sqlite_utils

TABLES = {
    "clinics": {"id": str, "name": str, "city": str, "state": str, "exam_rooms": int, "opened_on": str},
    "suppliers": {"id": str, "name": str, "delivers": str, "lead_days": int, "contract_until": str},
    "visits": {"clinic_id": str, "month": str, "visits": int, "no_shows": int, "mean_wait_minutes": float},
    "orders": {"id": int, "clinic_id": str, "supplier_id": str, "ordered_on": str, "quantity": int, "total_cents": int},
}
KEYS: dict[str, str | tuple[str, ...]] = {"clinics": "id", "suppliers": "id", "visits": ("clinic_id", "month"), "orders": "id"}
FOREIGN = {
    "visits": [("clinic_id", "clinics", "id")],
    "orders": [("clinic_id", "clinics", "id"), ("supplier_id", "suppliers", "id")],
}


def rows_of(table: str, folder: Path) -> list[dict[str, object]]:
    """Return a table's rows, each value as its column's type. Raises ValueError naming file and line."""
    file = folder / f"{table}.csv"
    with file.open(newline="") as lines:
        return [typed(table, row, f"{file}:{number}") for number, row in enumerate(csv.DictReader(lines), start=2)]


def typed(table: str, row: dict[str, str], place: str) -> dict[str, object]:
    """Return a row with values instead of text. Raises ValueError."""
    if row.keys() != TABLES[table].keys():
        raise ValueError(f"{place}: has the columns {', '.join(map(str, row))}; expected {', '.join(TABLES[table])}")
    try:
        return {name: kind(row[name]) for name, kind in TABLES[table].items()}
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def build(target: Path, folder: Path) -> None:
    """Write the database anew."""
    target.unlink(missing_ok=True)
    database = sqlite_utils.Database(target)
    for table, columns in TABLES.items():
        database[table].create(columns, pk=KEYS[table], foreign_keys=FOREIGN.get(table, []), not_null=set(columns))
        database[table].insert_all(rows_of(table, folder))
    database["visits"].create_index(["month"])
    database["orders"].create_index(["supplier_id"])
    database.create_view("visits_by_month", "select month, sum(visits) as visits, sum(no_shows) as no_shows from visits group by month")
    database.vacuum()
    database.close()


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "warehouse.db"), Path(__file__).parent / "data")
