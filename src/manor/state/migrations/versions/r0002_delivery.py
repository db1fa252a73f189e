"""Artifacts, pipeline runs, the ref ledger, addresses and tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

metadata = sa.MetaData()

sa.Table(
    "artifacts",
    metadata,
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("commit", sa.Text(), server_default="", nullable=False),
    sa.Column("build_url", sa.Text(), server_default="", nullable=False),
    sa.Column("run", sa.Text(), server_default="", nullable=False),
    sa.Column("manifest", sa.Text(), server_default="{}", nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("digest"),
)
sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("repository", sa.Text(), nullable=False),
    sa.Column("ref", sa.Text(), nullable=False),
    sa.Column("commit", sa.Text(), nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("summary", sa.Text(), server_default="", nullable=False),
    sa.Column("artifact", sa.Text(), server_default="", nullable=False),
    sa.Column("deadline", sa.Float(), nullable=True),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("started_at", sa.Float(), nullable=True),
    sa.Column("ended_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("repository", "ref", "commit", name="run_once"),
    sa.Index("runs_in", "state"),
)
sa.Table(
    "run_steps",
    metadata,
    sa.Column("run", sa.Text(), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("key", sa.Text(), nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("deadline", sa.Float(), nullable=True),
    sa.Column("started_at", sa.Float(), nullable=True),
    sa.Column("ended_at", sa.Float(), nullable=True),
    sa.Column("code", sa.Integer(), autoincrement=False, nullable=True),
    sa.Column("log", sa.Text(), server_default="", nullable=False),
    sa.Column("result", sa.Text(), server_default="{}", nullable=False),
    sa.ForeignKeyConstraint(
        ["run"],
        ["runs.id"],
    ),
    sa.PrimaryKeyConstraint("run", "name", "attempt"),
    sa.Index("run_steps_by_key", "key"),
)
sa.Table(
    "refs",
    metadata,
    sa.Column("repository", sa.Text(), nullable=False),
    sa.Column("ref", sa.Text(), nullable=False),
    sa.Column("commit", sa.Text(), nullable=False),
    sa.Column("run", sa.Text(), server_default="", nullable=False),
    sa.Column("seen_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("repository", "ref"),
)
sa.Table(
    "environments",
    metadata,
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("number", sa.Integer(), nullable=False),
    sa.Column("http_port", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("https_port", sa.Integer(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint("name"),
    sa.UniqueConstraint("number"),
)
sa.Table(
    "addresses",
    metadata,
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("host", sa.Text(), nullable=False),
    sa.Column("address", sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint("environment", "host"),
    sa.UniqueConstraint("address"),
)
sa.Table(
    "tokens",
    metadata,
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("scopes", sa.Text(), nullable=False),
    sa.Column("created_by", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=True),
    sa.Column("revoked_at", sa.Float(), nullable=True),
    sa.Column("used_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("name"),
    sa.UniqueConstraint("digest"),
)


def upgrade() -> None:
    """Create the tables."""
    metadata.create_all(op.get_bind(), checkfirst=False)
