"""The store: durable, append-only where it says so, one writer at a time, and what its rows are."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from manor.errors import ApplyFailed, Busy, FencedOff, ManorError, UsageError
from manor.state import audit, executing, journal, leases, operations, places, receipts, releases, runs, tables, tokens
from manor.state.holder import this_process
from manor.state.journal import NewStep
from manor.state.operations import NewOperation
from manor.state.places import EnvironmentPlace, HostPlace
from manor.state.receipts import ReceiptRow
from manor.state.releases import Artifact
from manor.state.runs import RunStep
from manor.state.store import Store
from manor.state.words import JournalEvent, Outcome, RunState, Slot, Standing, Traffic
from tests.operations.model import FakeClock, take


def pragma(connection: sa.Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize(("name", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 10000), ("foreign_keys", 1)])
def test_what_makes_a_commit_durable(store: Store, name: str, value: object) -> None:
    assert store.write_now(pragma, name) == value
    assert store.read_now(pragma, name) == value


def test_a_write_begins_as_writer_at_once(store: Store) -> None:
    said: list[str] = []

    def listen(connection: sa.Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        with sqlite3.connect(store.folder.database, timeout=0) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        said.append("locked out")

    store.write_now(listen)
    assert said == ["locked out"]


def test_nothing_of_a_write_that_raises_is_kept(store: Store) -> None:
    def half(connection: sa.Connection) -> None:
        audit.record(connection, "ann", "try", "prod", at=1.0)
        raise ManorError("no")

    with pytest.raises(ManorError, match="no"):
        store.write_now(half)
    assert store.read_now(audit.lines) == ()


async def test_async_callers_get_results_and_errors(store: Store) -> None:
    await asyncio.gather(*(store.write(audit.record, "ann", "note", f"thing-{n}", at=1.0) for n in range(20)))
    assert len(await store.read(audit.lines)) == 20
    with pytest.raises(UsageError, match="there is no operation 'x'"):
        await store.read(operations.get, "x")


def test_a_lock_that_is_held_too_long_is_busy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(store.folder.database) as other:
        other.execute("BEGIN IMMEDIATE")

        def impatient(connection: sa.Connection) -> None:
            connection.exec_driver_sql("PRAGMA busy_timeout=1")
            connection.exec_driver_sql("INSERT INTO facts VALUES ('a', 'b')")

        with pytest.raises(Busy, match="another process has been writing"):
            store.read_now(impatient)
        other.rollback()


def test_a_full_disk_is_said_and_nothing_is_written(store: Store) -> None:
    def fill(connection: sa.Connection) -> None:
        pages = int(str(connection.exec_driver_sql("PRAGMA page_count").scalar()))
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        audit.record(connection, "x" * 1_000_000, "note", "prod", at=1.0)

    with pytest.raises(ManorError, match="disk is full; nothing was written"):
        store.write_now(fill)
    assert store.read_now(audit.lines) == ()


@pytest.mark.parametrize("table", tables.APPEND_ONLY)
@pytest.mark.parametrize("verb", ["UPDATE {} SET rowid = rowid + 1", "DELETE FROM {}"])
def test_what_was_written_can_not_be_changed(store: Store, clock: FakeClock, table: str, verb: str) -> None:
    def fill(connection: sa.Connection) -> None:
        operation = operations.create(connection, NewOperation("ship", "prod"), at=1.0)
        releases.certify(connection, "prod", "shop", "r", Standing.CERTIFIED, operation.id, at=1.0)
        receipts.add(connection, ReceiptRow(operation.id, "prod", "shop", "r", 0, "{}", 1.0))
        journal.write(connection, operation.id, 1, 1, JournalEvent.INTENT, 1, 1.0)

    store.write_now(fill)
    with sqlite3.connect(store.folder.database) as other, pytest.raises(sqlite3.IntegrityError, match=f"{table} is only added to"):
        other.execute(verb.format(table))


def test_the_folder_is_nobody_elses(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "new") as new:
        folders = [new.folder.path, new.folder.artifacts, new.folder.repositories, new.folder.ca, new.folder.hosts, new.folder.runs]
        assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
        assert new.folder.database.stat().st_mode & 0o777 == 0o600
        assert new.state_id != store.state_id
        first = new.state_id
    with Store.open(tmp_path / "new") as again:
        assert again.state_id == first


def test_a_release_is_its_manifest(store: Store) -> None:
    one = store.write_now(releases.add_release, "shop", "a1", '{"a":1}', at=1.0)
    assert store.write_now(releases.add_release, "shop", "a1", '{"a":1}', at=2.0) == one
    assert store.read_now(releases.get_release, one.id[:12]) == one
    for wrong in ("ffff", "", "%"):
        with pytest.raises(UsageError):
            store.read_now(releases.get_release, wrong)


def test_an_artifact_belongs_to_one_service(store: Store) -> None:
    artifact = Artifact("d1", "shop", 12, "c0ffee", "https://ci.example/7", "", "{}", 1.0)
    assert store.write_now(releases.add_artifact, artifact) == artifact
    with pytest.raises(UsageError, match="belongs to the service shop, not to crm"):
        store.write_now(releases.add_artifact, Artifact("d1", "crm", 12, "", "", "", "{}", 2.0))


def test_the_way_back_leads_to_the_last_certified_release_that_is_not_burned(store: Store) -> None:
    ids = [store.write_now(releases.add_release, "shop", "a", f"{n}", at=float(n)).id for n in range(3)]
    for release, standing in [(0, Standing.CERTIFIED), (1, Standing.CERTIFIED), (2, Standing.CERTIFIED), (2, Standing.BURNED)]:
        store.write_now(releases.certify, "prod", "shop", ids[release], standing, "op", at=1.0)

    def back_from(but: str = "") -> str | None:
        found = store.read_now(releases.last_certified, "prod", "shop", but=but)
        return found.id if found else None

    assert (back_from(), back_from(ids[1])) == (ids[1], ids[0])
    assert store.read_now(releases.last_certified, "prod", "crm") is None
    burned = store.read_now(releases.standing_of, "prod", "shop", ids[2])
    assert burned is not None
    assert burned.standing is Standing.BURNED


def test_slots_are_written_by_the_operation_that_goes_on(store: Store, clock: FakeClock) -> None:
    operation = store.write_now(operations.create, NewOperation("ship", "prod", "shop"), at=1.0)
    lease = take(store, "prod/shop", operation.id)
    store.write_now(operations.begin, operation.id, lease.token, at=1.0)
    instance = "shop@web-1#1"
    for release, traffic in (("r1", Traffic.NONE), ("r2", Traffic.READY)):
        store.write_now(releases.put_slot, "prod", "shop", instance, Slot.A, release, traffic, operation.id, lease.token, at=1.0)
    store.write_now(releases.put_deployment, "prod", "shop", instance, "web-1", Slot.A, operation.id, lease.token, at=1.0)
    assert [(slot.slot, slot.release, slot.traffic) for slot in store.read_now(releases.slots, "prod", "shop")] == [(Slot.A, "r2", Traffic.READY)]
    assert [(found.instance, found.active, Slot.A.other) for found in store.read_now(releases.deployments, "prod")] == [(instance, Slot.A, Slot.B)]
    store.write_now(releases.forget_instance, "prod", "shop", instance, operation.id, lease.token)
    assert store.read_now(releases.deployments, "prod") == ()
    assert store.read_now(releases.slots, "prod") == ()


def test_a_push_is_one_run_however_often_it_is_seen(store: Store) -> None:
    first = store.write_now(runs.record_tip, "shop", "refs/heads/main", "c1", "ann", at=1.0)
    again = store.write_now(runs.record_tip, "shop", "refs/heads/main", "c1", "ann", at=2.0)
    other = store.write_now(runs.record_tip, "shop", "refs/heads/main", "c2", "bob", at=3.0)
    assert first is not None
    assert other is not None
    assert first == again != other
    assert store.write_now(runs.record_tip, "shop", "refs/heads/wip", "c2", "bob", at=3.0, starts_run=False) is None
    assert [(ref.ref, ref.commit, ref.run) for ref in store.read_now(runs.ledger, "shop")] == [
        ("refs/heads/main", "c2", other.id),
        ("refs/heads/wip", "c2", ""),
    ]
    store.write_now(runs.forget_ref, "shop", "refs/heads/wip")
    assert len(store.read_now(runs.ledger, "shop")) == 1
    assert [run.commit for run in store.read_now(runs.recent, "shop", [RunState.WAITING])] == ["c2", "c1"]


def test_runs_begin_and_end(store: Store) -> None:
    run = store.write_now(runs.record_tip, "shop", "refs/heads/main", "c1", "ann", at=1.0)
    assert run is not None
    store.write_now(runs.set_run, run.id, RunState.RUNNING, at=2.0, deadline=99.0)
    store.write_now(runs.put_step, RunStep(run.id, "test", 1, 0, "k1", RunState.RUNNING, started_at=2.0))
    store.write_now(runs.put_step, RunStep(run.id, "test", 1, 0, "k1", RunState.PASSED, started_at=2.0, ended_at=3.0, code=0))
    ended = store.write_now(runs.set_run, run.id, RunState.PASSED, at=4.0, artifact="d1")
    assert (ended.started_at, ended.ended_at, ended.deadline, ended.artifact) == (2.0, 4.0, 99.0, "d1")
    assert [step.state for step in store.read_now(runs.steps, run.id)] == [RunState.PASSED]
    passed = store.read_now(runs.passed_before, "k1")
    assert passed is not None
    assert passed.run == run.id
    assert store.read_now(runs.passed_before, "k2") is None


def test_an_attempt_begins_unless_its_key_passed_before(store: Store) -> None:
    run = store.write_now(runs.add_run, "shop", "refs/heads/main", "c1", "ann", 1.0)
    lease = store.write_now(leases.acquire, "run:shop:refs/heads/main", run.id, holder=this_process(), now=1.0)
    first = RunStep(run.id, "test", 1, 0, "k1", RunState.RUNNING, started_at=2.0)
    assert store.write_now(executing.begin_step, lease, first) is None
    assert store.read_now(runs.steps, run.id) == (first,)
    passed = replace(first, state=RunState.PASSED, ended_at=3.0, code=0)
    store.write_now(executing.put_step, lease, passed)
    assert store.write_now(executing.begin_step, lease, replace(first, attempt=2)) == passed
    assert store.read_now(runs.steps, run.id) == (passed,)
    with pytest.raises(FencedOff):
        store.write_now(executing.begin_step, replace(lease, token=0), replace(first, key="k2"))


def test_tokens_are_told_once_and_kept_as_a_hash(store: Store) -> None:
    token = store.write_now(tokens.issue, "ci", ["push", "ship"], "ann", at=1.0, expires_at=100.0).value
    row = store.read_now(tokens.check, token, now=2.0)
    assert row is not None
    assert (row.name, row.allows("ship"), row.allows("admin")) == ("ci", True, False)
    assert token.encode() not in store.folder.database.read_bytes()
    assert store.read_now(tokens.check, token, now=100.0) is None
    assert store.read_now(tokens.check, "manor_guess", now=2.0) is None
    with pytest.raises(UsageError, match="revoke it first"):
        store.write_now(tokens.issue, "ci", ["push"], "ann", at=2.0)
    store.write_now(tokens.revoke, "ci", "ann", at=3.0)
    assert store.read_now(tokens.check, token, now=4.0) is None
    assert store.write_now(tokens.issue, "ci", ["admin"], "ann", at=5.0).value != token
    assert [line.verb for line in store.read_now(audit.lines, object="ci")] == ["token issue", "token revoke", "token issue"]


def test_places_are_kept_until_given_back(store: Store) -> None:
    place = EnvironmentPlace("prod", 4, 8480, 8843)
    assert store.write_now(places.keep_environment, place) == place
    assert store.write_now(places.keep_environment, EnvironmentPlace("prod", 5, 1, 2)) == place
    store.write_now(places.keep_host, HostPlace("prod", "web-1", "127.9.4.11"))
    with pytest.raises(sa.exc.IntegrityError):
        store.write_now(places.keep_host, HostPlace("prod", "web-2", "127.9.4.11"))
    store.write_now(places.give_back, "prod")
    assert store.read_now(places.hosts) == ()
    assert store.read_now(places.environments) == ()


def test_a_receipt_is_never_changed(store: Store) -> None:
    receipt = ReceiptRow("op", "prod", "shop", "r", 0, "{}", 1.0)
    store.write_now(receipts.add, receipt)
    store.write_now(receipts.add, receipt)
    with pytest.raises(UsageError, match="never changed"):
        store.write_now(receipts.add, ReceiptRow("op", "prod", "shop", "r", 1, '{"lost": 1}', 1.0))
    assert store.read_now(receipts.recent, "prod", "shop") == (receipt,)


def test_host_outcomes_are_the_worst_of_their_steps(store: Store) -> None:
    operation = store.write_now(operations.create, NewOperation("apply", "prod"), at=1.0)
    store.write_now(journal.append, operation.id, [NewStep(0, "k", 1, "{}", 1.0, host=host) for host in ("a", "a", "b")])
    assert journal.host_outcomes(store.read_now(journal.steps, operation.id)) == {"a": Outcome.PENDING, "b": Outcome.PENDING}


@pytest.mark.parametrize("at", ["opening", "reading"])
def test_damage_is_told_with_the_way_out(tmp_path: Path, at: str) -> None:
    store = Store.open(tmp_path / "state")
    if at == "opening":
        store.close()
    for file in (store.folder.database, *store.folder.path.glob("state.db-*")):
        file.write_bytes(b"nonsense" * 2000)
    with pytest.raises(ManorError, match=r"state\.db: .*(not a database|malformed).*manor state restore FILE --replace"):
        Store.open(tmp_path / "state")
    if at == "reading":
        with pytest.raises(ManorError, match="manor state restore FILE --replace"):
            store.read_now(releases.last_certified, "prod", "shop")
        store.close()


@pytest.mark.parametrize("spoil", [lambda path: path.touch(), lambda path: path.symlink_to("/dev/null")])
def test_a_state_folder_that_can_not_be_is_told(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(tmp_path / "state")
    with pytest.raises(ApplyFailed, match="the state folder can't be made there, name another with MANOR_STATE"):
        Store.open(tmp_path / "state")
