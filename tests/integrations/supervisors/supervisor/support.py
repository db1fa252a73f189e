"""What the tests of this product share: a host from a case file, and its own parser's reading of what we render."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

import yaml
from supervisor.options import ServerOptions  # type: ignore[import-untyped]

from manor.estate.layout import HostLayout
from manor.execution.values import HostPath
from manor.integrations.supervisors.base import Program, SupervisedHost

PATHS = ("log", "cwd", "env_file", "wanted")


def case_host(text: str, root: str = "/srv/manor") -> SupervisedHost:
    entries: list[dict[str, Any]] = yaml.safe_load(text)
    programs = (Program(**{key: convert(key, value) for key, value in entry.items()}) for entry in entries)
    return host_of(Path(root), *sorted(programs, key=lambda program: program.name))


def convert(key: str, value: Any) -> Any:
    if key in PATHS:
        return HostPath(value)
    return tuple(value) if key == "argv" else value


def host_of(root: Path, *programs: Program) -> SupervisedHost:
    return SupervisedHost("prod", "web-1", HostLayout(HostPath(root), HostPath(root / "s")), programs)


def read_back(config: bytes) -> dict[str, tuple[str, ...]]:
    """Return the argv of each program as supervisord itself would split it."""
    options = ServerOptions()
    section = options.read_config(io.StringIO(config.decode()))
    return {process.name: tuple(shlex.split(process.command)) for group in section.process_group_configs for process in group.process_configs}
