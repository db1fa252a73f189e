"""A rollout that was really carried out, kept as files: its rows, what its probe wrote down, the first tier's log; and the receipt that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from manor.observe.edge import Tally
from manor.observe.probe.results import read_results
from manor.operations.planning import Result
from manor.registry import product
from manor.rollout.composing import Witnessed, begun_steps, compose_receipt, window_of
from manor.rollout.receipt import EdgeColumn, Origin, Receipt, probe_column
from manor.rollout.spans import probe_span
from manor.state.journal import JournalRow, StepRow
from manor.state.operations import Operation
from manor.workflows.rolling import ORDER, read_asked


@dataclass(frozen=True)
class Run:
    """What the store says of it."""

    operation: Operation
    steps: tuple[StepRow, ...]
    history: tuple[JournalRow, ...]
    origin: Origin
    first_tier: str


RUN = TypeAdapter(Run)


def receipt_of(folder: Path) -> Receipt:
    """Make the receipt of a rollout from its files."""
    run = RUN.validate_json((folder / "run.json").read_bytes())
    order = ORDER.validate_json(run.operation.arguments)
    window = window_of(run.operation, begun_steps(run.steps), 0.0)
    span = probe_span(run.steps, run.history, window.end)
    assert span is not None
    tally = Tally(order.service, (window, window.before()), product("proxies", run.first_tier).parse_access)
    for line in (folder / "access.log").read_text().splitlines():
        tally.take(line)
    edge = EdgeColumn(tally.counts(window), tally.counts(window.before()))
    probe = probe_column(read_results(folder / "results.jsonl"), span)
    seen = Witnessed(probe, edge, "", "counted", run.first_tier)
    return compose_receipt(Result(run.operation, run.steps), order, seen, run.origin, read_asked(run.operation.arguments))
