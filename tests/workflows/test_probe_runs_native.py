"""A real probe that was killed with its wrapper is followed by another one, and both are one recording (docs/receipt.md, the probe)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from manor.execution.detached import TIMER, marked
from manor.operations.planning import create
from manor.state.operations import NewOperation
from manor.workflows.context import Context
from manor.workflows.probe_runs import ProbeRun
from manor.workflows.probing import LocalProber
from manor.workflows.rolling import ROLLOUT_KINDS

pytestmark = pytest.mark.native


async def test_a_killed_probe_is_followed_by_another(opened: Context) -> None:
    store, prober = opened.store, LocalProber(opened, "prod", "shop")
    opened.authority.prepare()
    operation = (await create(store, NewOperation("ship", "prod", "shop", deadline=store.clock.now() + 600), [], ROLLOUT_KINDS)).id
    await prober.start(operation)
    assert (await prober.so_far(operation)).ended.sent > 0, "nobody answers, and that is seen"
    step = ProbeRun(operation, prober.folder(operation)).step(600.0)
    for pid in [*marked(step), *marked(step, TIMER), int(Path(step.folder, "pid").read_text().split()[0])]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await store.clock.sleep(0.5)
    await prober.start(operation)
    await store.clock.sleep(1.5)
    await prober.end(operation)
    seen = prober.recording(operation)
    assert (len(seen.breaks), seen.ended) == (1, True)
    assert any(each.due > seen.breaks[0].end - 0.5 for each in seen.outcomes)
