"""Take an artifact in that was built elsewhere, with the report of its tests if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manor.errors import UsageError
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.local import in_thread
from manor.execution.values import HostPath, PutFile
from manor.pipeline.artifact import About, keep_handed_in, row_of
from manor.pipeline.junit import MOST_REPORT_BYTES, BadReport, Report, parse_report
from manor.pipeline.results import result_of
from manor.state import releases, runs
from manor.state.folder import StateFolder
from manor.state.releases import Artifact
from manor.state.store import Connection
from manor.workflows.context import Context
from manor.workflows.tidying import removals


@dataclass(frozen=True)
class Origin:
    """What is known of an artifact that was built elsewhere."""

    commit: str = ""
    build_url: str = ""
    junit: Path | None = None
    """The report of its tests."""
    junit_name: str = ""
    """What whoever handed it in calls the report; empty: by its path."""
    artifact_name: str = ""
    """What whoever handed it in calls the artifact; empty: by its file's name."""


@dataclass(frozen=True)
class Kept:
    """The file of an artifact, durably kept; called, it writes the row that makes it one."""

    row: Artifact

    @property
    def digest(self) -> str:
        """Return the sha256 that names it."""
        return self.row.digest

    def __call__(self, connection: Connection) -> Artifact:
        """Write the row, or return the one that is there. Raises UsageError if another service's is."""
        return releases.add_artifact(connection, self.row)


async def keep_file(context: Context, service: str, path: Path, origin: Origin) -> Kept:
    """Keep an artifact's file and its report; the same content for the same commit is the same artifact. Raises Refused, UsageError."""
    report = await in_thread(partial(read_report, origin.junit, origin.junit_name or str(origin.junit))) if origin.junit else None
    about = About(service, origin.commit)
    built = await keep_handed_in(context.store.folder.artifacts, path, about, called=origin.artifact_name)
    await context.store.read(releases.require_owned, built.digest, service)
    if report is not None:
        await in_thread(partial(carry_out, Disk(), PutFile(HostPath(report_path(context, built.digest)), report, 0o600)))
    return Kept(row_of(built, about, at=context.store.clock.now(), build_url=origin.build_url))


def read_report(path: Path, name: str) -> bytes:
    """Return a report that can be read. Raises UsageError."""
    if path.stat().st_size > MOST_REPORT_BYTES:
        raise UsageError(f"{name}: is larger than {MOST_REPORT_BYTES} bytes")
    content = path.read_bytes()
    try:
        parse_report(content)
    except BadReport as error:
        raise UsageError(f"{name}: {error}") from error
    return content


def report_path(context: Context, digest: str) -> Path:
    """Return where the report that was handed in with an artifact is kept."""
    return context.store.folder.artifacts / f"{digest}.junit.xml"


def is_kept(folder: StateFolder, digest: str) -> bool:
    """Tell whether an artifact's file is in the store."""
    return (folder.artifacts / f"{digest}.tar").exists()


async def require_kept(context: Context, digest: str) -> None:
    """Raise UsageError if an artifact's file is no longer in the store: when it went, and how it comes back."""
    await context.store.read(require_file, context.store.folder, digest)


def require_file(connection: Connection, folder: StateFolder, digest: str) -> None:
    """Do the same within a transaction: retention moves files in one too, so what is there when an intention is written stays for it. Raises UsageError."""
    if is_kept(folder, digest):
        return
    row = releases.get_artifact(connection, digest)
    gone = "; ".join(removals(connection, f"artifact/{digest}")) or "its file was removed by hand, or lost"
    commit = row.commit[:12]
    again = (
        f"build {commit} again, as a new commit"
        if row.run
        else f"hand the same files in again, `manor ship {row.service}{' --commit ' if commit else ''}{commit}`"
    )
    raise UsageError(f"the artifact {digest[:12]} of {row.service} is no longer in the store ({gone}); {again}")


async def tests_of(context: Context, artifact: Artifact) -> Report | None:
    """Return the totals of an artifact's tests, from its run or from the report handed in with it; None: there are none."""
    if artifact.run:
        rows = await context.store.read(runs.steps, artifact.run)
        found = [tests for row in rows if (tests := result_of(row).tests) is not None]
        return sum((Report(tests.tests, tests.failed, tests.skipped, tests.seconds) for tests in found), Report()) if found else None
    path = report_path(context, artifact.digest)
    return await in_thread(lambda: parse_report(path.read_bytes())) if path.exists() else None
