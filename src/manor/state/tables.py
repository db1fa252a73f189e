"""The store's tables as they are now; migrations lead to them, and a test compares the two.

Invariant: `journal`, `audit`, `certifications` and `receipts` are only ever added to; triggers refuse everything else (docs/state.md).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from manor.state.words import DeliveryState, JournalEvent, OperationState, Outcome, RunState, Slot, Standing, Traffic

SCHEMA = "0003"
"""The revision these tables belong to: the head of `migrations/versions`."""

APPEND_ONLY = ("journal", "audit", "certifications", "receipts")

Term = TypeVar("Term", bound=StrEnum)


class Word(sa.types.TypeDecorator[Term]):
    """A text column that holds one word of a closed set."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[Term]) -> None:
        """Allow the words of the set only."""
        super().__init__()
        self.words = words

    def process_bind_param(self, value: Term | None, dialect: Any) -> str | None:
        """Return the text of a word."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, dialect: Any) -> Term | None:
        """Return the word of a text."""
        return None if value is None else self.words(value)


metadata = sa.MetaData()


def text(name: str, *, primary: bool = False, null: bool = False, default: str | None = None) -> sa.Column[str]:
    """Return a text column."""
    return sa.Column(name, sa.Text, primary_key=primary, nullable=null, server_default=default)


def moment(name: str, *, null: bool = False) -> sa.Column[float]:
    """Return a column of UTC seconds since 1970."""
    return sa.Column(name, sa.Float, nullable=null)


def whole(name: str, *, primary: bool = False, null: bool = False, default: str | None = None) -> sa.Column[int]:
    """Return a column of whole numbers."""
    return sa.Column(name, sa.Integer, primary_key=primary, autoincrement=False, nullable=null, server_default=default)


facts = sa.Table("facts", metadata, text("name", primary=True), text("value"))
"""`state_id`: who this store is; hosts remember it and refuse another."""

counters = sa.Table("counters", metadata, text("name", primary=True), whole("value"))

operations = sa.Table(
    "operations",
    metadata,
    text("id", primary=True),
    text("verb"),
    text("environment"),
    text("service", default=""),
    text("actor"),
    text("arguments", default="{}"),
    text("estate_digest", default=""),
    text("plan_hash", default=""),
    whole("token", default="0"),
    sa.Column("state", Word(OperationState), nullable=False),
    text("phase", default=""),
    text("summary", default=""),
    whole("plan", default="0"),
    moment("deadline", null=True),
    moment("created_at"),
    moment("started_at", null=True),
    moment("ended_at", null=True),
    text("delivery", default=""),
    sa.Index("operations_of", "environment", "service", "created_at"),
    sa.Index("operations_in", "state"),
    sa.Index("operations_for", "delivery"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    text("id", primary=True),
    text("verb"),
    text("service"),
    text("artifact"),
    text("start"),
    text("to", default=""),
    text("again", default=""),
    text("actor"),
    text("run", default=""),
    text("environment"),
    sa.Column("state", Word(DeliveryState), nullable=False),
    text("summary", default=""),
    moment("created_at"),
    moment("ended_at", null=True),
    sa.Index("deliveries_in", "state"),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("operation", sa.Text, sa.ForeignKey("operations.id"), primary_key=True),
    whole("seq", primary=True),
    whole("plan", default="0"),
    whole("stage"),
    text("key"),
    text("kind"),
    whole("version"),
    text("host", default=""),
    text("payload"),
    text("text", default=""),
    text("precondition", default=""),
    text("postcondition", default=""),
    text("compensation", default=""),
    sa.Column("timeout_seconds", sa.Float, nullable=False),
    whole("attempt", default="0"),
    moment("deadline", null=True),
    moment("intent_at", null=True),
    moment("done_at", null=True),
    sa.Column("outcome", Word(Outcome), nullable=False),
    text("evidence", default=""),
    sa.UniqueConstraint("operation", "key", name="step_key"),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("entry", sa.Integer, primary_key=True, autoincrement=True),
    text("operation"),
    whole("seq"),
    whole("attempt"),
    sa.Column("event", Word(JournalEvent), nullable=False),
    whole("token"),
    moment("at"),
    moment("deadline", null=True),
    text("detail", default=""),
    sa.Index("journal_of", "operation", "seq"),
    sqlite_autoincrement=True,
)

leases = sa.Table(
    "leases",
    metadata,
    text("name", primary=True),
    whole("token"),
    text("operation", default=""),
    text("machine"),
    text("boot"),
    text("namespace"),
    whole("pid"),
    whole("process_started"),
    moment("acquired_at"),
    moment("renewed_at"),
    moment("expires_at"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    text("digest", primary=True),
    text("service"),
    whole("size"),
    text("commit", default=""),
    text("build_url", default=""),
    text("run", default=""),
    text("manifest", default="{}"),
    moment("created_at"),
)

releases = sa.Table(
    "releases",
    metadata,
    text("id", primary=True),
    text("service"),
    text("artifact"),
    text("manifest"),
    moment("created_at"),
    sa.Index("releases_of", "service", "created_at"),
)

deployments = sa.Table(
    "deployments",
    metadata,
    text("environment", primary=True),
    text("service", primary=True),
    text("instance", primary=True),
    text("host"),
    sa.Column("active", Word(Slot), nullable=True),
    text("operation", default=""),
    moment("updated_at"),
)

slots = sa.Table(
    "slots",
    metadata,
    text("environment", primary=True),
    text("service", primary=True),
    text("instance", primary=True),
    sa.Column("slot", Word(Slot), primary_key=True),
    text("release", default=""),
    sa.Column("traffic", Word(Traffic), nullable=False),
    text("operation", default=""),
    moment("updated_at"),
)

certifications = sa.Table(
    "certifications",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    text("environment"),
    text("service"),
    text("release"),
    sa.Column("standing", Word(Standing), nullable=False),
    text("operation", default=""),
    text("reason", default=""),
    moment("at"),
    sa.Index("certifications_of", "environment", "service", "release"),
    sqlite_autoincrement=True,
)

receipts = sa.Table(
    "receipts",
    metadata,
    text("operation", primary=True),
    text("environment"),
    text("service"),
    text("release"),
    whole("lost"),
    text("body"),
    moment("created_at"),
    sa.Index("receipts_of", "environment", "service", "created_at"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    moment("at"),
    text("actor"),
    text("verb"),
    text("object"),
    text("before", default=""),
    text("after", default=""),
    text("operation", default=""),
    sqlite_autoincrement=True,
)

runs = sa.Table(
    "runs",
    metadata,
    text("id", primary=True),
    text("repository"),
    text("ref"),
    text("commit"),
    text("actor"),
    sa.Column("state", Word(RunState), nullable=False),
    text("summary", default=""),
    text("artifact", default=""),
    moment("deadline", null=True),
    moment("created_at"),
    moment("started_at", null=True),
    moment("ended_at", null=True),
    sa.UniqueConstraint("repository", "ref", "commit", name="run_once"),
    sa.Index("runs_in", "state"),
)

run_steps = sa.Table(
    "run_steps",
    metadata,
    sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
    text("name", primary=True),
    whole("attempt", primary=True),
    whole("place"),
    text("key"),
    sa.Column("state", Word(RunState), nullable=False),
    moment("deadline", null=True),
    moment("started_at", null=True),
    moment("ended_at", null=True),
    whole("code", null=True),
    text("log", default=""),
    text("result", default="{}"),
    sa.Index("run_steps_by_key", "key"),
)

refs = sa.Table(
    "refs",
    metadata,
    text("repository", primary=True),
    text("ref", primary=True),
    text("commit"),
    text("run", default=""),
    moment("seen_at"),
)

environments = sa.Table(
    "environments",
    metadata,
    text("name", primary=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    whole("http_port"),
    whole("https_port"),
)

addresses = sa.Table(
    "addresses",
    metadata,
    text("environment", primary=True),
    text("host", primary=True),
    sa.Column("address", sa.Text, nullable=False, unique=True),
)

tokens = sa.Table(
    "tokens",
    metadata,
    text("name", primary=True),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    text("scopes"),
    text("created_by"),
    moment("created_at"),
    moment("expires_at", null=True),
    moment("revoked_at", null=True),
    moment("used_at", null=True),
)
