"""Operations and their journal, leases, releases, receipts and audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("journal", "audit", "certifications", "receipts")

metadata = sa.MetaData()

sa.Table("facts", metadata, sa.Column("name", sa.Text(), nullable=False), sa.Column("value", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("name"))
sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("value", sa.Integer(), autoincrement=False, nullable=False),
    sa.PrimaryKeyConstraint("name"),
)
sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("verb", sa.Text(), nullable=False),
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), server_default="", nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("arguments", sa.Text(), server_default="{}", nullable=False),
    sa.Column("estate_digest", sa.Text(), server_default="", nullable=False),
    sa.Column("plan_hash", sa.Text(), server_default="", nullable=False),
    sa.Column("token", sa.Integer(), server_default="0", autoincrement=False, nullable=False),
    sa.Column("state", sa.Text(), nullable=False),
    sa.Column("phase", sa.Text(), server_default="", nullable=False),
    sa.Column("summary", sa.Text(), server_default="", nullable=False),
    sa.Column("plan", sa.Integer(), server_default="0", autoincrement=False, nullable=False),
    sa.Column("deadline", sa.Float(), nullable=True),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.Column("started_at", sa.Float(), nullable=True),
    sa.Column("ended_at", sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("operations_in", "state"),
    sa.Index("operations_of", "environment", "service", "created_at"),
)
sa.Table(
    "steps",
    metadata,
    sa.Column("operation", sa.Text(), nullable=False),
    sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("plan", sa.Integer(), server_default="0", autoincrement=False, nullable=False),
    sa.Column("stage", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("key", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("host", sa.Text(), server_default="", nullable=False),
    sa.Column("payload", sa.Text(), nullable=False),
    sa.Column("text", sa.Text(), server_default="", nullable=False),
    sa.Column("precondition", sa.Text(), server_default="", nullable=False),
    sa.Column("postcondition", sa.Text(), server_default="", nullable=False),
    sa.Column("compensation", sa.Text(), server_default="", nullable=False),
    sa.Column("timeout_seconds", sa.Float(), nullable=False),
    sa.Column("attempt", sa.Integer(), server_default="0", autoincrement=False, nullable=False),
    sa.Column("deadline", sa.Float(), nullable=True),
    sa.Column("intent_at", sa.Float(), nullable=True),
    sa.Column("done_at", sa.Float(), nullable=True),
    sa.Column("outcome", sa.Text(), nullable=False),
    sa.Column("evidence", sa.Text(), server_default="", nullable=False),
    sa.ForeignKeyConstraint(
        ["operation"],
        ["operations.id"],
    ),
    sa.PrimaryKeyConstraint("operation", "seq"),
    sa.UniqueConstraint("operation", "key", name="step_key"),
)
sa.Table(
    "journal",
    metadata,
    sa.Column("entry", sa.Integer(), autoincrement=True, nullable=False),
    sa.Column("operation", sa.Text(), nullable=False),
    sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("event", sa.Text(), nullable=False),
    sa.Column("token", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("at", sa.Float(), nullable=False),
    sa.Column("deadline", sa.Float(), nullable=True),
    sa.Column("detail", sa.Text(), server_default="", nullable=False),
    sa.PrimaryKeyConstraint("entry"),
    sa.Index("journal_of", "operation", "seq"),
    sqlite_autoincrement=True,
)
sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("token", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("operation", sa.Text(), server_default="", nullable=False),
    sa.Column("machine", sa.Text(), nullable=False),
    sa.Column("boot", sa.Text(), nullable=False),
    sa.Column("namespace", sa.Text(), nullable=False),
    sa.Column("pid", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("process_started", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("acquired_at", sa.Float(), nullable=False),
    sa.Column("renewed_at", sa.Float(), nullable=False),
    sa.Column("expires_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("name"),
)
sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("artifact", sa.Text(), nullable=False),
    sa.Column("manifest", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.Index("releases_of", "service", "created_at"),
)
sa.Table(
    "deployments",
    metadata,
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("instance", sa.Text(), nullable=False),
    sa.Column("host", sa.Text(), nullable=False),
    sa.Column("active", sa.Text(), nullable=True),
    sa.Column("operation", sa.Text(), server_default="", nullable=False),
    sa.Column("updated_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("environment", "service", "instance"),
)
sa.Table(
    "slots",
    metadata,
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("instance", sa.Text(), nullable=False),
    sa.Column("slot", sa.Text(), nullable=False),
    sa.Column("release", sa.Text(), server_default="", nullable=False),
    sa.Column("traffic", sa.Text(), nullable=False),
    sa.Column("operation", sa.Text(), server_default="", nullable=False),
    sa.Column("updated_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("environment", "service", "instance", "slot"),
)
sa.Table(
    "certifications",
    metadata,
    sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("standing", sa.Text(), nullable=False),
    sa.Column("operation", sa.Text(), server_default="", nullable=False),
    sa.Column("reason", sa.Text(), server_default="", nullable=False),
    sa.Column("at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("seq"),
    sa.Index("certifications_of", "environment", "service", "release"),
    sqlite_autoincrement=True,
)
sa.Table(
    "receipts",
    metadata,
    sa.Column("operation", sa.Text(), nullable=False),
    sa.Column("environment", sa.Text(), nullable=False),
    sa.Column("service", sa.Text(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("lost", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("body", sa.Text(), nullable=False),
    sa.Column("created_at", sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint("operation"),
    sa.Index("receipts_of", "environment", "service", "created_at"),
)
sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
    sa.Column("at", sa.Float(), nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("verb", sa.Text(), nullable=False),
    sa.Column("object", sa.Text(), nullable=False),
    sa.Column("before", sa.Text(), server_default="", nullable=False),
    sa.Column("after", sa.Text(), server_default="", nullable=False),
    sa.Column("operation", sa.Text(), server_default="", nullable=False),
    sa.PrimaryKeyConstraint("seq"),
    sqlite_autoincrement=True,
)


def upgrade() -> None:
    """Create the tables."""
    metadata.create_all(op.get_bind(), checkfirst=False)
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            refuse(table, verb)


def refuse(table: str, verb: str) -> None:
    """Make a table that is only added to."""
    op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is only added to'); END")
