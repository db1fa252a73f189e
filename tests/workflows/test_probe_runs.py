"""The probe's processes: one that asks for long enough goes on, one that has ended or would end too early is followed by another (docs/receipt.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import ApplyFailed
from manor.execution.local import LocalRunner
from manor.execution.values import Detached, DetachedState
from manor.observe.probe.model import ProbeConfig
from manor.observe.probe.results import ResultsFile, header_line, outcome_line
from manor.operations.planning import create
from manor.state import operations
from manor.state.operations import NewOperation
from manor.workflows.context import Context
from manor.workflows.probing import LONGEST_SECONDS, LocalProber
from manor.workflows.rolling import ROLLOUT_KINDS

TOTAL = 600.0
DIED = DetachedState(started=True, lost=True)


class Processes:
    """What was started, without a process: each writes its head at once, and its last line when it is told to end."""

    def __init__(self) -> None:
        self.states: dict[str, DetachedState] = {}
        self.are_mute = False

    async def start(self, _runner: LocalRunner, step: Detached) -> DetachedState:
        name = Path(step.folder).name
        assert name not in self.states, "begun twice"
        self.states[name] = DetachedState(started=True, code=2) if self.are_mute else DetachedState(started=True)
        if not self.are_mute:
            self.write(step, ended=False)
        return self.states[name]

    async def attach(self, _runner: LocalRunner, step: Detached) -> DetachedState:
        name = Path(step.folder).name
        state = self.states.get(name, DetachedState(started=False))
        if state == DetachedState(started=True) and Path(str(step.folder).replace("process", "stop")).exists():
            self.write(step, ended=True)
            self.states[name] = replace(state, code=0)
        return self.states.get(name, state)

    async def log(self, _runner: LocalRunner, _step: Detached, _offset: int = 0) -> bytes:
        return b"out of files"

    def write(self, step: Detached, *, ended: bool) -> None:
        config = ProbeConfig.model_validate_json(Path(str(step.command.argv[-1])).read_bytes())
        file = ResultsFile(Path(config.results or ""))
        file.append(outcome_line(2.0, [], 0, 0, ended=True) if ended else header_line(config, 1.0))
        file.close()


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    async def nothing(_prober: LocalProber, _operation: str) -> None:
        """Logs are nothing to these tests."""

    made = Processes()
    monkeypatch.setattr(LocalProber, "_mark", nothing)
    for name in ("start", "attach", "log"):
        asked = getattr(made, name)
        monkeypatch.setattr(LocalRunner, name, lambda runner, *words, asked=asked: asked(runner, *words))
    return made


async def begun(opened: Context) -> tuple[LocalProber, str]:
    """Return a prober whose probe asks, and its operation, which has ten minutes."""
    store = opened.store
    new = NewOperation("ship", "prod", "shop", deadline=store.clock.now() + TOTAL)
    operation = (await create(store, new, [], ROLLOUT_KINDS)).id
    prober = LocalProber(opened, "prod", "shop")
    await prober.start(operation)
    return prober, operation


def deadline_of(prober: LocalProber, operation: str, name: str = "config.json") -> float:
    return ProbeConfig.model_validate_json((prober.folder(operation) / name).read_bytes()).deadline or 0.0


async def put_off(prober: LocalProber, operation: str, seconds: float) -> float:
    """Move the operation's deadline, and return it."""
    store = prober.context.store
    deadline = (store.read_now(operations.get, operation).deadline or 0.0) + seconds
    store.write_now(lambda connection: operations.change(connection, operation, deadline=deadline))
    return deadline


async def test_one_that_asks_for_long_enough_goes_on(opened: Context, processes: Processes) -> None:
    prober, operation = await begun(opened)
    before = deadline_of(prober, operation)
    await put_off(prober, operation, LONGEST_SECONDS / 2)
    await prober.start(operation)
    assert (list(processes.states), deadline_of(prober, operation)) == (["process"], before), "it was told its deadline once"


@pytest.mark.parametrize("state", [DIED, DetachedState(started=True, code=0)], ids=["died", "its time was up"])
async def test_one_that_has_ended_is_followed_by_another(opened: Context, processes: Processes, state: DetachedState) -> None:
    prober, operation = await begun(opened)
    processes.states["process"] = state
    needed = await put_off(prober, operation, 500_000.0)
    await prober.start(operation)
    assert list(processes.states) == ["process", "process-2"]
    assert deadline_of(prober, operation, "config-2.json") == needed + LONGEST_SECONDS
    seen = prober.recording(operation)
    assert (len(seen.breaks), seen.ended) == (1, False)
    await prober.end(operation)
    assert (processes.states["process-2"].code, prober.recording(operation).ended) == (0, True)


async def test_one_that_would_end_too_early_is_ended_and_followed_by_another(opened: Context, processes: Processes) -> None:
    prober, operation = await begun(opened)
    await put_off(prober, operation, 500_000.0)
    await prober.start(operation)
    assert (processes.states["process"].code, processes.states["process-2"].code) == (0, None)


async def test_one_that_was_written_down_and_never_begun_is_begun(opened: Context, processes: Processes) -> None:
    prober, operation = await begun(opened)
    processes.states["process"] = DIED
    (prober.folder(operation) / "config-2.json").write_text("{}")
    await prober.end(operation)
    await prober.stop(operation)
    await prober.start(operation)
    assert list(processes.states) == ["process", "process-2"]
    assert deadline_of(prober, operation, "config-2.json") > 0


async def test_one_that_ends_at_once_says_why_and_can_be_followed_by_another(opened: Context, processes: Processes) -> None:
    prober, operation = await begun(opened)
    processes.states["process"], processes.are_mute = DIED, True
    with pytest.raises(ApplyFailed, match="ended before it wrote that it asks: out of files"):
        await prober.start(operation)
    processes.are_mute = False
    await prober.start(operation)
    assert list(processes.states) == ["process", "process-2", "process-3"]
