"""Content keys: two steps of one key would do the same, so the second is not done (docs/pipeline.md, what is not done twice).

Invariant: a key covers all that a step can see: its commands and variables, the commit or the chosen inputs, what the steps before left,
the machine's kind and tools. It does not cover MANOR_RUN, MANOR_REF and the cache, which are no part of what is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from manor.pipeline.definition import Step
from manor.pipeline.packing import Entry

TOOLS = ("cc", "git", "go", "java", "make", "node", "npm", "php", "python3", "sh", "tar")


def content_key(step: Step, service: str, source: str, received: Sequence[str], machine: str) -> str:
    """Return the key of a step (sha256, hex). `source`: commit or digest of inputs; `received`: digests of what steps before left, in order."""
    declared = step.model_dump(mode="json", exclude={"needs"})
    parts = {"key": 1, "step": declared, "service": service, "source": source, "received": list(received), "machine": machine}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of(entries: Iterable[Entry]) -> str:
    """Return a digest (sha256, hex) of paths, kinds, modes and contents."""
    total = hashlib.sha256()
    for entry in sorted(entries, key=lambda one: one.path):
        with entry.open() as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # a binary file object
        total.update(json.dumps([entry.path, entry.kind, entry.is_executable, entry.target, content]).encode())
    return total.hexdigest()


def describe_machine(path: str, wheelhouse: Path | None) -> str:
    """Return what of this machine a step's result may hang on: system, tools found on the path, packages that can be installed. Reads the disk."""
    system = os.uname()
    found = [f"{system.sysname} {system.machine}"]
    for tool in TOOLS:
        if place := shutil.which(tool, path=path):
            real = Path(place).resolve()
            there = real.stat()
            found.append(f"{tool} {real} {there.st_size} {int(there.st_mtime)}")
    if wheelhouse is not None and wheelhouse.is_dir():
        found += sorted(item.name for item in wheelhouse.iterdir())
    return hashlib.sha256("\n".join(found).encode()).hexdigest()
