"""Makes a new estate: a file that holds and runs as it stands, to be edited.

Invariant: what is there is never overwritten; what is written was loaded as an estate before.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from manor.errors import InvalidEstate, UsageError
from manor.estate.load import load_estate
from manor.workflows.snapshots import put

IGNORED = ".manor/state/"
DEFAULT_COMMAND = "python3 -m http.server --bind {address} {port}"


@dataclass(frozen=True)
class FirstEstate:
    """What a new estate is asked for."""

    name: str
    service: str = "web"
    command: str = DEFAULT_COMMAND
    port: int = 8300
    health: str = "/"


@dataclass(frozen=True)
class Made:
    """What was written."""

    file: Path
    ignored: bool
    """`.gitignore` got a line."""


def suggested_name(folder: Path) -> str:
    """Return an estate's name from its folder's."""
    words = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return words[:31].rstrip("-") if words and words[0].isalpha() else "acme"


def make_estate(first: FirstEstate, folder: Path) -> Made:
    """Write `estate.yaml` and the line of `.gitignore`. Raises UsageError if there is an estate, InvalidEstate for answers that make none."""
    file = folder / "estate.yaml"
    if file.exists():
        raise UsageError(f"{file}: there is an estate already; edit it, or name another folder")
    text = render_first(first)
    require_valid(text)
    put(file, text.encode(), 0o644)
    return Made(file, ignore_state(folder / ".gitignore"))


def render_first(first: FirstEstate) -> str:
    """Return the file."""
    return f"""\
# What there is. `manor check` judges it, `manor up` brings it up, docs/reference.md explains every key.
estate: {quoted(first.name)}
services:
  {quoted(first.service)}:
    run: {{command: {quoted(first.command)}, port: {first.port}}}  # this port and the next: two slots
    health: {{http: {quoted(first.health)}}}  # must answer 200 before it gets traffic
    routes: [{{host: {quoted(first.service)}}}]
environments:
  dev: {{}}  # one local host with every tier
  prod: {{after: dev, hosts: {{edge: 1, web: 2}}}}
"""


def quoted(text: str) -> str:
    """Return a text as a YAML scalar: as it is where it is plain, else in JSON's quotes, which YAML reads alike."""
    return text if re.fullmatch(r"[a-z][a-z0-9-]*", text) else json.dumps(text, ensure_ascii=False)


def require_valid(text: str) -> None:
    """Raise InvalidEstate if the text is no estate."""
    with tempfile.TemporaryDirectory(prefix="manor-init-") as folder:
        file = Path(folder) / "estate.yaml"
        file.write_text(text)
        try:
            load_estate(file)
        except InvalidEstate as error:
            raise InvalidEstate([problem.replace(f"{folder}/", "") for problem in error.problems]) from error


def ignore_state(file: Path) -> bool:
    """Add the state folder to a `.gitignore`; False if it is there already."""
    text = file.read_text() if file.exists() else ""
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in text.splitlines()):
        return False
    separator = "" if not text or text.endswith("\n") else "\n"
    put(file, f"{text}{separator}{IGNORED}\n".encode(), 0o644)
    return True
