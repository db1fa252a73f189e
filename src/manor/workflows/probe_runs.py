"""The processes of one rollout's probe: another one follows where the rollout goes on after one has ended (docs/receipt.md, the probe).

Invariant: each has files of its own, so what one has written down stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from manor.execution.values import Command, Detached, Effect, HostPath, Touch
from manor.observe.probe.model import ProbeConfig
from manor.observe.probe.process import argv


@dataclass(frozen=True)
class ProbeRun:
    """One process of a probe, and where its files are."""

    operation: str
    folder: Path
    number: int = 1

    def _file(self, stem: str, suffix: str = "") -> Path:
        return self.folder / f"{stem}{self._tail}{suffix}"

    @property
    def _tail(self) -> str:
        return "" if self.number == 1 else f"-{self.number}"

    @property
    def config(self) -> Path:
        """What it asks."""
        return self._file("config", ".json")

    @property
    def results(self) -> Path:
        """What it saw."""
        return self._file("results", ".jsonl")

    @property
    def stop_file(self) -> Path:
        """It ends when this is there."""
        return self._file("stop")

    @property
    def next(self) -> ProbeRun:
        """The one that follows when this one has ended."""
        return replace(self, number=self.number + 1)

    @property
    def deadline(self) -> float:
        """When it ends by itself. Raises OSError, ValueError where its configuration can't be read."""
        return ProbeConfig.model_validate_json(self.config.read_bytes()).deadline or 0.0

    def step(self, longest_seconds: float) -> Detached:
        """Return it as a program that outlives this one."""
        command = Command(argv(str(self.config)), Touch(effect=Effect.RUNTIME), timeout_seconds=longest_seconds)
        return Detached(f"{self.operation}-probe{self._tail}", HostPath(self._file("process")), command, timeout_seconds=longest_seconds)


def runs_in(folder: Path, operation: str) -> tuple[ProbeRun, ...]:
    """Return the processes that were begun, or about to be, in order."""
    found: list[ProbeRun] = []
    run = ProbeRun(operation, folder)
    while run.config.exists():
        found.append(run)
        run = run.next
    return tuple(found)
