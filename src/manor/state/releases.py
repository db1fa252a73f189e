"""Artifacts, releases, where they run, and what is known about them.

Invariant: a release's id is the sha256 of its manifest, so two releases of one id are one release.
Invariant: `certifications` is only added to; the last line about a release in an environment counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from manor.errors import UsageError
from manor.state import operations, rows, tables
from manor.state.words import Slot, Standing, Traffic


@dataclass(frozen=True)
class Artifact:
    """What was built once or handed in, and where it came from."""

    digest: str
    service: str
    size: int
    commit: str
    build_url: str
    run: str
    manifest: str
    created_at: float


@dataclass(frozen=True)
class ArtifactBrief:
    """What tells whether an artifact is still needed; its manifest, which may be long, stays in the store."""

    digest: str
    service: str
    run: str
    created_at: float


@dataclass(frozen=True)
class ReleaseRow:
    """An artifact with configuration and rules, as its manifest (canonical JSON) says."""

    id: str
    service: str
    artifact: str
    manifest: str
    created_at: float


@dataclass(frozen=True)
class Deployment:
    """One instance: where it is and which of its slots carries the traffic."""

    environment: str
    service: str
    instance: str
    host: str
    active: Slot | None
    operation: str
    updated_at: float


@dataclass(frozen=True)
class SlotRow:
    """What is in a slot, and what the switching tier gives to it."""

    environment: str
    service: str
    instance: str
    slot: Slot
    release: str
    traffic: Traffic
    operation: str
    updated_at: float


@dataclass(frozen=True)
class Certification:
    """One line of what is known about a release in an environment."""

    seq: int
    environment: str
    service: str
    release: str
    standing: Standing
    operation: str
    reason: str
    at: float


def add_artifact(connection: sa.Connection, artifact: Artifact) -> Artifact:
    """Write an artifact, or return the one of this digest that is there. Raises UsageError if another service's is."""
    connection.execute(insert(tables.artifacts).values(**vars(artifact)).on_conflict_do_nothing())
    require_owned(connection, artifact.digest, artifact.service)
    return get_artifact(connection, artifact.digest)


def require_owned(connection: sa.Connection, digest: str, service: str) -> None:
    """Raise UsageError if there is an artifact of this digest and it is another service's."""
    there = rows.first_of(connection, sa.select(tables.artifacts).where(tables.artifacts.c.digest == digest), Artifact)
    if there is not None and there.service != service:
        raise UsageError(f"the artifact {digest[:12]} belongs to the service {there.service}, not to {service}")


def get_artifact(connection: sa.Connection, digest: str) -> Artifact:
    """Return an artifact. Raises UsageError if there is none."""
    found = rows.first_of(connection, sa.select(tables.artifacts).where(tables.artifacts.c.digest == digest), Artifact)
    if found is None:
        raise UsageError(f"there is no artifact {digest[:12]}")
    return found


def artifacts(connection: sa.Connection) -> tuple[ArtifactBrief, ...]:
    """Return every artifact there ever was, newest first."""
    columns = tables.artifacts.c
    query = sa.select(columns.digest, columns.service, columns.run, columns.created_at)
    return rows.all_of(connection, query.order_by(columns.created_at.desc(), columns.digest), ArtifactBrief)


def release_id(manifest: str) -> str:
    """Return the id of the release with this manifest."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def add_release(connection: sa.Connection, service: str, artifact: str, manifest: str, *, at: float) -> ReleaseRow:
    """Write a release, or return the one of this manifest that is there."""
    identifier = release_id(manifest)
    values = ReleaseRow(identifier, service, artifact, manifest, at)
    connection.execute(insert(tables.releases).values(**vars(values)).on_conflict_do_nothing())
    return get_release(connection, identifier)


def get_release(connection: sa.Connection, identifier: str) -> ReleaseRow:
    """Return a release by its id or an unambiguous beginning of it (12 hex are shown). Raises UsageError."""
    begins = tables.releases.c.id.startswith(identifier, autoescape=True)
    found = rows.all_of(connection, sa.select(tables.releases).where(begins).limit(2), ReleaseRow)
    if len(found) != 1 or not identifier:
        raise UsageError(f"there {'are several releases' if found else 'is no release'} {identifier!r}")
    return found[0]


def recent_releases(connection: sa.Connection, service: str, limit: int = 50) -> tuple[ReleaseRow, ...]:
    """Return the releases of a service, newest first."""
    query = sa.select(tables.releases).where(tables.releases.c.service == service)
    return rows.all_of(connection, query.order_by(tables.releases.c.created_at.desc()).limit(limit), ReleaseRow)


def put_slot(
    connection: sa.Connection,
    environment: str,
    service: str,
    instance: str,
    slot: Slot,
    release: str,
    traffic: Traffic,
    operation: str,
    token: int,
    *,
    at: float,
) -> None:
    """Write what is in a slot and what traffic it gets. Raises FencedOff unless the operation goes on under the token."""
    operations.require_token(connection, operation, token)
    place = {"environment": environment, "service": service, "instance": instance, "slot": slot}
    state = {"release": release, "traffic": traffic, "operation": operation, "updated_at": at}
    connection.execute(insert(tables.slots).values(**place, **state).on_conflict_do_update(index_elements=list(place), set_=state))


def put_deployment(
    connection: sa.Connection, environment: str, service: str, instance: str, host: str, active: Slot | None, operation: str, token: int, *, at: float
) -> None:
    """Write which slot of an instance carries the traffic. Raises FencedOff unless the operation goes on under the token."""
    operations.require_token(connection, operation, token)
    place = {"environment": environment, "service": service, "instance": instance}
    state = {"host": host, "active": active, "operation": operation, "updated_at": at}
    connection.execute(insert(tables.deployments).values(**place, **state).on_conflict_do_update(index_elements=list(place), set_=state))


def forget_instance(connection: sa.Connection, environment: str, service: str, instance: str, operation: str, token: int) -> None:
    """Remove an instance that is gone. Raises FencedOff unless the operation goes on under the token."""
    operations.require_token(connection, operation, token)
    for table in (tables.slots, tables.deployments):
        mine = (table.c.environment == environment) & (table.c.service == service) & (table.c.instance == instance)
        connection.execute(table.delete().where(mine))


def deployments(connection: sa.Connection, environment: str, service: str | None = None) -> tuple[Deployment, ...]:
    """Return the instances of an environment, or of one service in it."""
    table = tables.deployments
    query = sa.select(table).where(table.c.environment == environment).order_by(table.c.service, table.c.instance)
    return rows.all_of(connection, query if service is None else query.where(table.c.service == service), Deployment)


def slots(connection: sa.Connection, environment: str, service: str | None = None) -> tuple[SlotRow, ...]:
    """Return the slots of an environment, or of one service in it."""
    table = tables.slots
    query = sa.select(table).where(table.c.environment == environment).order_by(table.c.service, table.c.instance, table.c.slot)
    return rows.all_of(connection, query if service is None else query.where(table.c.service == service), SlotRow)


def environments_of(connection: sa.Connection, service: str) -> tuple[str, ...]:
    """Return the environments that a service was ever in, by name; also those that the estate no longer declares."""
    parts = (tables.slots, tables.deployments, tables.certifications)
    query = sa.union(*(sa.select(table.c.environment).where(table.c.service == service) for table in parts))
    return tuple(sorted(connection.execute(query).scalars()))


def certify(
    connection: sa.Connection, environment: str, service: str, release: str, standing: Standing, operation: str, reason: str = "", *, at: float
) -> None:
    """Add what is known now about a release in an environment."""
    line = {"environment": environment, "service": service, "release": release, "standing": standing, "operation": operation, "reason": reason, "at": at}
    connection.execute(tables.certifications.insert().values(**line))


def certify_rollout(connection: sa.Connection, environment: str, service: str, release: str, operation: str, token: int, *, at: float) -> None:
    """Write that a rollout's release held, once, and that the rollout is so far. Raises FencedOff unless the operation goes on under the token."""
    operations.set_phase(connection, operation, token, Standing.CERTIFIED)
    known = standing_of(connection, environment, service, release)
    if known is None or (known.operation, known.standing) != (operation, Standing.CERTIFIED):
        certify(connection, environment, service, release, Standing.CERTIFIED, operation, at=at)


def burn_rollout(connection: sa.Connection, environment: str, service: str, release: str, operation: str, token: int, reason: str, *, at: float) -> None:
    """Write that a rollout's release failed, once, unless it is certified. Raises FencedOff unless the operation goes on under the token."""
    operations.require_token(connection, operation, token)
    known = standing_of(connection, environment, service, release)
    if known is None or (known.standing is not Standing.CERTIFIED and known.operation != operation):
        certify(connection, environment, service, release, Standing.BURNED, operation, reason, at=at)


def standing_of(connection: sa.Connection, environment: str, service: str, release: str) -> Certification | None:
    """Return the last line about a release in an environment."""
    return next((line for line in certifications(connection, environment, service) if line.release == release), None)


def certifications(connection: sa.Connection, environment: str, service: str) -> tuple[Certification, ...]:
    """Return all lines about a service in an environment, newest first."""
    table = tables.certifications
    query = sa.select(table).where((table.c.environment == environment) & (table.c.service == service)).order_by(table.c.seq.desc())
    return rows.all_of(connection, query, Certification)


def last_certified(connection: sa.Connection, environment: str, service: str, *, but: str = "") -> ReleaseRow | None:
    """Return the release to go back to: the last one certified of those not burned since, other than `but`."""
    seen: set[str] = set()
    for line in certifications(connection, environment, service):
        if line.release not in seen and line.standing is Standing.CERTIFIED and line.release != but:
            return get_release(connection, line.release)
        seen.add(line.release)
    return None


def return_targets(connection: sa.Connection, environment: str, service: str) -> tuple[ReleaseRow, ...]:
    """Return what `manor rollback` returns to: the certified release, and the one certified before it."""
    last = last_certified(connection, environment, service)
    before = last_certified(connection, environment, service, but=last.id) if last else None
    return tuple(release for release in (last, before) if release)
