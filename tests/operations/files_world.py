"""A world of files, for processes that really die: each step makes one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manor.operations.step import Here, Holds, Step, StepKinds


@dataclass(frozen=True)
class Folder:
    """Where the files are."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class MakeFile(Step[Folder]):
    """Makes a file and says under which token."""

    kind = "make-file"
    host: str

    async def observe(self, ports: Folder, here: Here) -> Holds:
        return Holds.post("is there") if (ports.path / self.host).exists() else Holds.pre()

    async def act(self, ports: Folder, here: Here) -> str:
        with (ports.path / self.host).open("x") as file:  # a second time would fail
            file.write(str(here.token))
        return "made"


KINDS = StepKinds[Folder]([MakeFile])
