"""Takes in what a step left: outputs, test reports, the artifact.

Invariant: repeating it after a crash gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manor.errors import ApplyFailed, Refused
from manor.execution.local import in_thread
from manor.pipeline.artifact import About, artifact_path, build, keep_tar, record, workspace_entries
from manor.pipeline.definition import ArtifactPart, Step
from manor.pipeline.globs import selector
from manor.pipeline.junit import MOST_REPORT_BYTES, BadReport, Report, parse_report
from manor.pipeline.packing import Entry, Limits, check, folder_entries
from manor.pipeline.results import Result, tests_of
from manor.state.runs import Run
from manor.state.store import Store
from manor.state.words import RunState


def is_there(result: Result, outputs: Path, artifacts: Path) -> bool:
    """Tell whether what a result speaks of still exists."""
    has_outputs = not result.outputs or (outputs / f"{result.outputs}.tar").is_file()
    return has_outputs and (not result.artifact or artifact_path(artifacts, result.artifact).is_file())


def keep_inputs(folder: Path, entries: Sequence[Entry]) -> Path:
    """Return an archive of chosen files of a commit."""
    return keep_tar(folder, entries).path


def keep_outputs(workspace: Path, step: Step, folder: Path, result: Result) -> Result:
    """Return the result with the digest of what the step declared to leave. Raises Refused if one of its `outputs` is not there."""
    for number, glob in enumerate(step.outputs):
        if not folder_entries(workspace, selector((glob,))):
            raise Refused(f"outputs[{number}]: the step left nothing that matches {glob}")
    entries = folder_entries(workspace, selector(step.outputs))
    check(entries, Limits(), "outputs")
    try:
        kept = keep_tar(folder, entries)
    except OSError as error:
        raise ApplyFailed(f"outputs: could not be kept: {error.strerror or error}") from error
    return result.model_copy(update={"outputs": kept.digest})


def judge_reports(workspace: Path, step: Step, verdict: RunState, result: Result) -> tuple[RunState, Result]:
    """Return verdict and result of a `test` step by its reports. Raises Refused for one that can't be read after tests that seemed to pass."""
    entries = [entry for entry in folder_entries(workspace, selector(step.junit)) if entry.kind == "file"]
    try:
        report = read_reports(entries)
    except Refused as error:
        if verdict is RunState.PASSED:
            raise
        return verdict, result.model_copy(update={"summary": f"{result.summary}; {error}"})
    if not entries:
        lacking = f"junit: no report matches {', '.join(step.junit)}; have the test program write one, e.g. pytest --junitxml"
        return RunState.FAILED, result.model_copy(update={"summary": f"{result.summary}; {lacking}" if result.summary else lacking})
    tests = tests_of(report)
    if report.failed:
        first = f"; first: {report.failures[0].name}" if report.failures else ""
        return RunState.FAILED, result.model_copy(update={"tests": tests, "summary": f"{report}{first}"})
    if not report.tests and verdict is RunState.PASSED:
        return RunState.FAILED, result.model_copy(update={"tests": tests, "summary": "junit: the report holds no test; an empty run proves nothing"})
    return verdict, result.model_copy(update={"tests": tests, "summary": result.summary or str(report)})


def read_reports(entries: Sequence[Entry]) -> Report:
    """Return all reports together. Raises Refused naming the file."""
    total = Report()
    for entry in entries:
        if entry.size > MOST_REPORT_BYTES:
            raise Refused(f"junit: {entry.path}: is larger than {MOST_REPORT_BYTES} bytes")
        with entry.open() as file:
            try:
                total += parse_report(file.read())
            except BadReport as error:
                raise Refused(f"junit: {entry.path}: {error}") from error
    return total


async def pack_artifact(store: Store, workspace: Path, part: ArtifactPart, service: str, run: Run) -> Result:
    """Return the result of an `artifact` step: packed, kept, written down. Raises Refused, UsageError, ApplyFailed."""
    if not service:
        raise Refused("artifact: nothing says which service it is for; add service: NAME to the pipeline, or repository: to the service")
    about = About(service, run.commit, part.platform or "")
    built = await in_thread(lambda: build(store.folder.artifacts, workspace_entries(workspace, part), about))
    kept = await record(store, built, about, run=run.id)
    return Result(artifact=kept.digest, summary=f"artifact {kept.digest[:12]}, {kept.size} bytes")
