"""Deliveries, and which of them an operation is part of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

metadata = sa.MetaData()

sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("verb", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("artifact", sa.Text(), nullable=False),
    sa.Column("start", sa.Text(), nullable=False),
    sa.Column("to", sa.Text(), server_default="", nullable=False),
    sa.Column("again", sa.Text(), server_default="", nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("run", sa.Text(), server_default="", nullable=False),
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("summary", sa.Text(), server_default="", nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("ended_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("deliveries_in", "state"),
)


def upgrade() -> None:
    """Create the table, and the column that leads to it."""
    metadata.create_all(op.get_bind(), checkfirst=False)
    op.add_column("operations", sa.Column("delivery", sa.Text(), server_default="", nullable=False))
    op.create_index("operations_for", "operations", ["delivery"])
