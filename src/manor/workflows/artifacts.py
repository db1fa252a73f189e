"""Take an artifact in that was built elsewhere, with the report of its tests if there is one."""

from __future__ import annotations

from pathlib import Path

from manor.errors import UsageError
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, PutFile
from manor.pipeline.artifact import accept_artifact
from manor.pipeline.junit import BadReport, Report, parse_report
from manor.pipeline.results import result_of
from manor.state import runs
from manor.state.releases import Artifact
from manor.workflows.context import Context


async def hand_in(context: Context, service: str, path: Path, *, commit: str = "", build_url: str = "", junit: Path | None = None) -> Artifact:
    """Keep an artifact and return its row. The same content for the same commit is the same artifact. Raises Refused, UsageError."""
    report = read_report(junit) if junit else None
    row = await accept_artifact(context.store, path, service, commit, build_url)
    if report is not None:
        carry_out(Disk(), PutFile(HostPath(report_path(context, row.digest)), report, 0o600))
    return row


def read_report(path: Path) -> bytes:
    """Return a report that can be read. Raises UsageError."""
    content = path.read_bytes()
    try:
        parse_report(content)
    except BadReport as error:
        raise UsageError(f"{path}: {error}") from error
    return content


def report_path(context: Context, digest: str) -> Path:
    """Return where the report that was handed in with an artifact is kept."""
    return context.store.folder.artifacts / f"{digest}.junit.xml"


async def tests_of(context: Context, artifact: Artifact) -> Report | None:
    """Return the totals of an artifact's tests, from its run or from the report handed in with it; None: there are none."""
    if artifact.run:
        rows = await context.store.read(runs.steps, artifact.run)
        found = [tests for row in rows if (tests := result_of(row).tests) is not None]
        return sum((Report(tests.tests, tests.failed, tests.skipped, tests.seconds) for tests in found), Report()) if found else None
    path = report_path(context, artifact.digest)
    return parse_report(path.read_bytes()) if path.exists() else None
