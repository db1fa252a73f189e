"""Backup of the whole state into one tar, and restore from it (docs/state.md).

Invariant: the database is copied before the files, so every file that it speaks of is in the backup.
Invariant: a restore verifies every digest before it touches what is there, and throws nothing away.
Source: https://www.sqlite.org/backup.html
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from manor.errors import ManorError, Refused, UsageError
from manor.execution.durable import Disk, beside, sweep
from manor.state import exchange
from manor.state.clock import Clock, SystemClock
from manor.state.folder import ASIDE, KEPT_IN_BACKUPS, StateFolder
from manor.state.lock import alone
from manor.state.migrate import copy_database, require_known, revision_of
from manor.state.store import Store

MANIFEST = "manifest.json"
DATABASE = "state.db"
TRIES = 5
OBJECTS = "objects"
UNFINISHED = ("tmp_", "incoming-")
"""How git calls what a push is still writing, below `objects`: tmp_obj_, tmp_pack_, tmp_objdir-incoming- and the like."""
LOG_DEPTH = 3
"""Where the name of a log stands in `<run>/<step>/<attempt>/log`."""


@dataclass(frozen=True)
class Entry:
    """A file of a backup; `target` is set for a symbolic link. That and an empty folder have no content."""

    path: str
    mode: int = 0o600
    size: int = 0
    sha256: str = ""
    target: str = ""
    is_folder: bool = False


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    created_at: float
    schema: str
    state_id: str
    entries: tuple[Entry, ...]


def backup(store: Store, to: Path) -> Backup:
    """Write the state as it is now into one tar, 0600, complete or not at all; `hosts/` is not part of it. Raises ManorError."""
    parts = (to, store.folder.path / f"{DATABASE}.for-backup")
    for left in parts:
        sweep(Disk(), left)
    half, database = map(beside, parts)
    try:
        copy_database(store.folder.database, database)
        with open(half, "xb", opener=private) as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                entries = (add_file(tar, database, DATABASE), *add_parts(tar, store.folder))
                made = Backup(store.clock.now(), revision_of(database), store.state_id, entries)
                add_bytes(tar, MANIFEST, json.dumps(asdict(made), indent=1, sort_keys=True).encode())
            file.flush()
            os.fsync(file.fileno())
        half.replace(to)
        sync_folder(to.parent)
    finally:
        database.unlink(missing_ok=True)
        half.unlink(missing_ok=True)
    return made


def add_parts(tar: tarfile.TarFile, folder: StateFolder) -> Iterator[Entry]:
    """Add the files of every part, again and again what appeared or vanished meanwhile. Raises ManorError if it never settles."""
    done: set[str] = set()
    for _ in range(TRIES):
        new = [path for path in files_of(folder) if name_in(folder, path) not in done]
        if not new and done:
            return
        for path in new:
            try:
                yield add_link_or_file(tar, path, name_in(folder, path))
            except FileNotFoundError:
                continue  # repacked or removed since it was listed; what took its place is found next time
            done.add(name_in(folder, path))
        if not new:
            return
    raise ManorError(f"{folder.path}: its files kept changing during the backup; try again when less is going on")


def files_of(folder: StateFolder) -> Iterator[Path]:
    """Yield the files to keep: of repositories the refs before the objects, so that no ref is without its objects."""
    found = [path for part in KEPT_IN_BACKUPS for path in below(folder.path / part)]
    kept = [path for path in found if not is_left_out(PurePosixPath(name_in(folder, path)))]
    kept = [path for path in kept if path.is_symlink() or path.is_file() or path.is_dir()]  # no socket, no pipe
    return iter(sorted(kept, key=lambda path: (OBJECTS in path.parts, path)))


def below(top: Path) -> Iterator[Path]:
    """Yield files, links and empty folders: without an empty `refs` git knows no repository."""
    for place, folders, names in os.walk(top):
        here = Path(place)
        yield from (here / name for name in names)
        yield from (here / name for name in folders if (here / name).is_symlink())
        if here != top and not folders and not names:
            yield here


def is_left_out(inside: PurePosixPath) -> bool:
    """Tell whether something is git's lock or an object that is being written, about to be removed, or what a step works with."""
    part, *rest = inside.parts
    if rest[:1] == [ASIDE] or (rest and rest[0].startswith(f".{ASIDE}.manor-")):
        return True
    return (part == "repositories" and is_being_written(rest)) or (part == "runs" and is_work(tuple(rest)))


def is_being_written(parts: Sequence[str]) -> bool:
    """Tell whether something is a lock of git, or below `<repository>.git/objects` what a push has not brought to its end. Names of branches are free."""
    return parts[-1].endswith(".lock") or (parts[1:2] == [OBJECTS] and any(part.startswith(UNFINISHED) for part in parts[2:]))


def is_work(parts: tuple[str, ...]) -> bool:
    """Tell whether something in `runs` is a cache, or of an attempt at a step but not its log: one that ran is done again from its beginning."""
    return parts[0] == ".cache" or (len(parts) > LOG_DEPTH and not parts[0].startswith(".") and parts[1] != ".source" and parts[LOG_DEPTH] != "log")


def name_in(folder: StateFolder, path: Path) -> str:
    """Return the path inside the state folder."""
    return path.relative_to(folder.path).as_posix()


def add_link_or_file(tar: tarfile.TarFile, path: Path, name: str) -> Entry:
    """Add one file, or note where one link points or that one folder is there."""
    if path.is_symlink():
        return Entry(name, target=str(path.readlink()))
    return Entry(name, is_folder=True) if path.is_dir() else add_file(tar, path, name)


class Hashing(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read from this file."""
        self.file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read and hash."""
        chunk = self.file.read(size)
        self.sha256.update(chunk)
        return chunk


def add_file(tar: tarfile.TarFile, path: Path, name: str) -> Entry:
    """Add a file as long as it was when opened: a log may grow meanwhile."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = status.st_size, status.st_mode & 0o777, int(status.st_mtime)
        hashing = Hashing(file)
        tar.addfile(member, hashing)
    return Entry(name, member.mode, member.size, hashing.sha256.hexdigest())


def add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file from memory."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))


def restore(archive: Path, folder: Path, *, replace: bool = False, clock: Clock | None = None, disk: Disk | None = None) -> Backup:
    """Make the state in a folder what it was; with `replace` also over an existing one, which is kept in `before-restore-<n>/`.

    Raises UsageError if there is a state and `replace` is not given, Busy while another process has it open, Refused if the archive is not
    sound; then nothing was changed. A restore that was killed is finished first; of the same backup, that is all there is to do.
    Tokens of leases go on above all that hosts can have seen.
    """
    place = StateFolder(folder)
    place.create_top()
    with alone(place.lock):
        finished = exchange.settle(place)
        if finished is not None and finished.backup == digest_of(archive):
            return manifest_of(archive)
        require_free(place, replace=replace)
        return put_back(archive, place, int((clock or SystemClock()).now()), disk or Disk())


def put_back(archive: Path, place: StateFolder, least_token: int, disk: Disk) -> Backup:
    """Unpack beside, verify, and change places."""
    fresh = StateFolder(place.restoring)
    fresh.create()
    try:
        made = unpack(archive, fresh)
        check_database(fresh)
        raise_tokens(fresh.database, least_token)
        digest = digest_of(archive)
    except Exception:
        shutil.rmtree(fresh.path)
        raise
    exchange.change_places(disk, place, digest)
    place.create()
    return made


def require_free(folder: StateFolder, *, replace: bool) -> None:
    """Raise UsageError if there is a state that must not be replaced."""
    if not replace and is_used(folder):
        raise UsageError(f"{folder.path} holds a state already; `--replace` puts the backup in its place and keeps what is there beside it")


def is_used(folder: StateFolder) -> bool:
    """Tell whether a state folder holds anything that a restore would replace."""
    if any(any((folder.path / part).iterdir()) for part in KEPT_IN_BACKUPS if (folder.path / part).exists()):
        return True
    if not folder.database.exists() or not revision_of(folder.database):
        return False
    with closing(sqlite3.connect(folder.database, timeout=10)) as connection:
        return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("operations", "releases", "audit"))  # noqa: S608 -- constants


def unpack(archive: Path, fresh: StateFolder) -> Backup:
    """Unpack into an empty folder exactly what the manifest lists, verified. Raises Refused."""
    with opened(archive) as tar:
        made = parse_manifest(tar_bytes(tar, MANIFEST))
        fresh.database.unlink(missing_ok=True)
        for entry in made.entries:
            unpack_entry(tar, entry, fresh)
    return made


@contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Give a backup to read. Raises Refused if it is not sound."""
    try:
        with tarfile.open(archive, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, OSError, KeyError, ValueError, TypeError) as error:
        raise Refused(f"{archive}: not a sound backup: {error}; nothing was changed") from error


def manifest_of(archive: Path) -> Backup:
    """Return what a backup says that it holds. Raises Refused."""
    with opened(archive) as tar:
        return parse_manifest(tar_bytes(tar, MANIFEST))


def digest_of(archive: Path) -> str:
    """Return the sha256 of a backup's manifest, which lists the sha256 of all else. Raises Refused."""
    with opened(archive) as tar:
        return hashlib.sha256(tar_bytes(tar, MANIFEST)).hexdigest()


def parse_manifest(content: bytes) -> Backup:
    """Return what a manifest lists."""
    raw = json.loads(content)
    return Backup(raw["created_at"], raw["schema"], raw["state_id"], tuple(Entry(**entry) for entry in raw["entries"]))


def unpack_entry(tar: tarfile.TarFile, entry: Entry, fresh: StateFolder) -> None:
    """Write one file or link. Raises ValueError if it lies outside or its content is not what the manifest says."""
    inside = PurePosixPath(entry.path)
    if inside.is_absolute() or ".." in inside.parts or (inside.parts[0] not in KEPT_IN_BACKUPS and entry.path != DATABASE):
        raise ValueError(f"{entry.path} is no part of a state")
    path = fresh.path / inside
    if any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(fresh.path)):
        raise ValueError(f"{entry.path} lies behind a link")
    if os.path.lexists(path) and not (entry.is_folder and path.is_dir() and not path.is_symlink()):
        raise ValueError(f"{entry.path} is listed twice")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if entry.is_folder:
        path.mkdir(mode=0o700, exist_ok=True)
        return
    if entry.target:
        path.symlink_to(entry.target)
        return
    digest = hashlib.sha256()
    with tar_file(tar, entry.path) as source, open(path, "xb", opener=private) as file:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
        os.fsync(file.fileno())
    path.chmod(entry.mode & (stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH))
    if digest.hexdigest() != entry.sha256:
        raise ValueError(f"{entry.path} is damaged: its sha256 is not the manifest's")


def private(path: str, flags: int) -> int:
    """Open for nobody but us, and never through a link."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def tar_file(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a member. Raises KeyError if it is missing, ValueError if it is no file."""
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file


def tar_bytes(tar: tarfile.TarFile, name: str) -> bytes:
    """Read a member."""
    with tar_file(tar, name) as file:
        return file.read()


def check_database(folder: StateFolder) -> None:
    """Raise Refused if SQLite finds damage, ManorError if the schema is newer than this program."""
    require_known(folder, revision_of(folder.database))
    with closing(sqlite3.connect(folder.database)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise Refused(f"the backup's database is damaged: {verdict}; nothing was changed")


def raise_tokens(database: Path, least: int) -> None:
    """Let tokens go on above the seconds since 1970: higher than any that was given out after the backup was made; and end all leases."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO counters VALUES ('token', ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)", (least,))
        connection.execute("DELETE FROM leases")


def sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
