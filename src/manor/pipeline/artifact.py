"""Artifacts: a deterministic archive with a manifest, kept by its digest (docs/artifacts.md).

Invariant: an artifact has a row only after its file is durably there; a file that was refused or cut short leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from manor.errors import ApplyFailed, Refused
from manor.execution.durable import Disk, beside, sweep
from manor.execution.local import in_thread
from manor.pipeline.definition import ArtifactPart
from manor.pipeline.globs import selector
from manor.pipeline.handed_in import opened_entries
from manor.pipeline.packing import Entry, Limits, check, folder_entries, write_tar
from manor.state import releases
from manor.state.releases import Artifact
from manor.state.store import Store

MANIFEST = ".manor/manifest.json"
NEVER = (".git", "**/.pytest_cache", "**/.mypy_cache", "**/.ruff_cache")
COMPILED = re.compile(r"\.(?P<tag>(?:cpython|pypy)-?[0-9]+)[^/]*\.so$|\.so(?:\.[0-9.]+)?$")


@dataclass(frozen=True)
class About:
    """What an artifact's manifest says of it besides its files."""

    service: str
    commit: str = ""
    platform: str = ""
    """Empty: told from the files."""


@dataclass(frozen=True)
class Built:
    """An artifact's file, durably kept."""

    digest: str
    path: Path
    size: int
    manifest: str


def platform_of(paths: Iterable[str], system: os.uname_result | None = None) -> str:
    """Return `any`, or which machines compiled files are for, e.g. `linux-x86_64-cpython-311`. Pure but for the default of `system`."""
    compiled = [match for path in paths if (match := COMPILED.search(path))]
    if not compiled:
        return "any"
    machine = system or os.uname()
    tags = sorted({match["tag"] for match in compiled if match["tag"]})
    return "-".join([machine.sysname.lower(), machine.machine, *tags])


def make_manifest(entries: Sequence[Entry], about: About) -> bytes:
    """Return the manifest: canonical JSON with the digest of every file."""
    files = {entry.path: _described(entry) for entry in entries}
    platform = about.platform or platform_of(files)
    content = {"manifest": 1, "service": about.service, "commit": about.commit, "platform": platform, "files": files}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _described(entry: Entry) -> dict[str, object]:
    if entry.kind == "link":
        return {"link": entry.target}
    if entry.kind == "folder":
        return {"folder": True}
    with entry.open() as file:
        digest = hashlib.sha256()
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "size": entry.size, **({"executable": True} if entry.is_executable else {})}


def build(folder: Path, entries: Iterable[Entry], about: About, limits: Limits = Limits()) -> Built:  # noqa: B008 -- frozen
    """Pack an artifact into the store's folder for them. Raises Refused (nothing to pack, unsafe, too large), ApplyFailed (disk)."""
    wanted = sorted((entry for entry in entries if not entry.path.startswith(".manor/")), key=lambda entry: entry.path)
    check([*wanted, Entry(MANIFEST, "file", io.BytesIO)], limits, "the artifact")
    if not any(entry.kind == "file" for entry in wanted):
        raise Refused("the artifact: holds no file; look at `include` and `from`, and at the `outputs` of the steps before")
    try:
        manifest = make_manifest(wanted, about)
        packed = [*wanted, Entry(MANIFEST, "file", lambda: io.BytesIO(manifest), len(manifest))]
        return replace(keep_tar(folder, packed), manifest=manifest.decode())
    except OSError as error:
        raise ApplyFailed(f"the artifact could not be packed: {error.filename or folder}: {error.strerror or error}; nothing was stored") from error


def keep_tar(folder: Path, entries: Iterable[Entry]) -> Built:
    """Write an archive durably as `<sha256>.tar` in a folder: written, synced, renamed, folder synced. Raises OSError, Refused."""
    disk, incoming = Disk(), folder / "incoming"
    sweep(disk, incoming)
    new = beside(incoming)
    try:
        with new.open("xb") as file:
            digest = write_tar(file, entries)
        disk.sync(new)
        path = folder / f"{digest}.tar"
        disk.rename(new, path)
    except BaseException:
        with suppress(FileNotFoundError):
            disk.unlink(new)
        raise
    disk.sync(folder)
    return Built(digest, path, path.stat().st_size, "")


def workspace_entries(workspace: Path, part: ArtifactPart) -> list[Entry]:
    """Return what a pipeline's `artifact:` names in a workspace. Raises Refused."""
    folder = workspace / part.folder if part.folder else workspace
    if not folder.is_dir() or not folder.resolve().is_relative_to(workspace.resolve()):
        raise Refused(f"from: there is no folder {part.folder} in the workspace; is it among the `outputs` of a step before?")
    return folder_entries(folder, selector(part.include, (*NEVER, *part.exclude)))


def row_of(built: Built, about: About, *, at: float, build_url: str = "", run: str = "") -> Artifact:
    """Return the row of an artifact."""
    return Artifact(built.digest, about.service, built.size, about.commit, build_url, run, built.manifest, at)


async def record(store: Store, built: Built, about: About, *, build_url: str = "", run: str = "") -> Artifact:
    """Write the row of an artifact; the one that is there if it was built before. Raises UsageError if another service's."""
    return await store.write(releases.add_artifact, row_of(built, about, at=store.clock.now(), build_url=build_url, run=run))


async def keep_handed_in(folder: Path, path: Path, about: About, limits: Limits = Limits(), called: str = "") -> Built:  # noqa: B008 -- frozen
    """Keep the file of what another CI built: a folder, .tar, .tar.gz, .tar.bz2, .tar.xz or .zip. It is nobody's artifact until it has a row.

    Raises Refused (unsafe, broken, too large, not an archive), ApplyFailed (disk full).
    """
    return await in_thread(lambda: _repack(folder, path, about, limits, called))


def _repack(folder: Path, path: Path, about: About, limits: Limits, called: str) -> Built:
    with opened_entries(path, folder, limits, called) as entries:
        return build(folder, (entry for entry in entries if not _is_never(entry.path)), about, limits)


_is_never = selector(NEVER)


def artifact_path(folder: Path, digest: str) -> Path:
    """Return where an artifact of this digest (sha256, hex) is kept. Raises Refused for what is no digest."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Refused(f"{posixpath.basename(digest)!r} is not a digest")
    return folder / f"{digest}.tar"
