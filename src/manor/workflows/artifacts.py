"""Takes artifacts in from other CI, and remembers what tests said of them.

Invariant: a report that can't be read is refused before anything is stored.
"""

from __future__ import annotations

import json
from pathlib import Path

from manor.errors import Refused
from manor.pipeline.artifact import accept_artifact
from manor.pipeline.junit import BadReport, Report, parse_report
from manor.state import releases
from manor.state.releases import Artifact
from manor.state.store import Store
from manor.workflows.context import Context


async def hand_in(context: Context, service: str, path: Path, *, commit: str = "", build_url: str = "", junit: Path | None = None) -> Artifact:
    """Keep what another CI built, with its report of tests if there is one. Raises Refused, UsageError (another service's), ApplyFailed (disk)."""
    report = read_report(junit) if junit else None
    row = await accept_artifact(context.store, path, context.service(service), commit, build_url)
    return row if report is None else await remember_tests(context.store, row, report.tests, report.failed)


def read_report(path: Path) -> Report:
    """Return what a JUnit report says. Raises Refused."""
    try:
        return parse_report(path.read_bytes())
    except BadReport as error:
        raise Refused(f"{path}: {error}; nothing was stored") from error


async def remember_tests(store: Store, row: Artifact, total: int, failed: int) -> Artifact:
    """Write into an artifact's manifest what its tests said: the gate `tests` reads it there."""
    facts = json.loads(row.manifest or "{}") | {"tests": {"total": total, "failed": failed}}
    return await store.write(releases.describe_artifact, row.digest, json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
