"""A host's files in memory, for dry runs and tests: the same file acts, the same answers as a disk gives.

Invariant: pure but for PutTree, which reads the controller's archive.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manor.errors import Refused
from manor.execution.archives import check_digest, refusal
from manor.execution.values import FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove

MOST_LINKS = 40


@dataclass(frozen=True)
class File:
    """A regular file."""

    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: HostPath


@dataclass(frozen=True)
class Folder:
    """A folder."""

    mode: int = 0o755


@dataclass
class MemoryFiles:
    """What lies where. A parent that nobody made is made on the way."""

    entries: dict[HostPath, File | Link | Folder] = field(default_factory=dict)

    def carry_out(self, act: FileAct) -> None:
        """Carry out one file act. Raises Refused (an archive that is not what was promised, or unsafe), OSError."""
        path = act.path
        match act:
            case PutFile(content=content, mode=mode):
                self._put(path, File(content, mode))
            case PutLink(target=target):
                self._put(path, Link(target))
            case MakeFolder(mode=mode):
                self._make_folder(path, mode)
            case Remove():
                self._remove(self._real_parent(path))
            case PutTree():
                self._put_tree(act)

    def read(self, paths: Sequence[HostPath]) -> dict[HostPath, bytes]:
        """Return the contents of those that are files, links followed."""
        found = {path: self.entries.get(self.followed(path)) for path in paths}
        return {path: entry.content for path, entry in found.items() if isinstance(entry, File)}

    def digest(self, paths: Sequence[HostPath]) -> dict[HostPath, str]:
        """Return sha256 of files, `-> target` of links, `folder` of folders."""
        places = {path: self.entries.get(self._real_parent(path)) for path in paths}
        return {path: _digest(entry) for path, entry in places.items() if entry is not None}

    def listing(self, folder: HostPath) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        real = self.followed(folder)
        return tuple(sorted(path.name for path in self.entries if path.parent == real and path != real))

    def followed(self, path: HostPath, budget: int = MOST_LINKS) -> HostPath:
        """Return where a path leads, links followed; a loop leads to itself."""
        place = HostPath("/")
        for part in path.parts[1:]:
            place = HostPath(posixpath.normpath(place / part))
            entry = self.entries.get(place)
            if isinstance(entry, Link) and budget > 0:
                place = self.followed(place.parent / entry.target, budget - 1)
        return place

    def _real_parent(self, path: HostPath) -> HostPath:
        return self.followed(path.parent) / path.name if path.name else path

    def _put(self, path: HostPath, entry: File | Link) -> None:
        place = self._real_parent(path)
        if isinstance(self.entries.get(place), Folder):
            raise IsADirectoryError(21, "Is a directory", str(path))
        self._make_folder(place.parent)
        self.entries[place] = entry

    def _make_folder(self, path: HostPath, mode: int | None = None) -> None:
        for folder in reversed((path, *path.parents)):
            place = self.followed(folder)
            if isinstance(self.entries.get(place), File):
                raise NotADirectoryError(20, "is there and is not a folder", str(folder))
            self.entries.setdefault(place, Folder())
        if mode is not None:
            self.entries[self.followed(path)] = Folder(mode)

    def _remove(self, place: HostPath) -> None:
        self.entries = {path: entry for path, entry in self.entries.items() if path != place and place not in path.parents}

    def _put_tree(self, act: PutTree) -> None:
        if isinstance(self.entries.get(self._real_parent(act.path)), Folder):
            return
        check_digest(Path(act.archive), act.digest)
        with tarfile.open(act.archive) as archive:
            members = archive.getmembers()
            for member in members:
                if wrong := refusal(member):
                    raise Refused(f"{act.archive!r}: {member.name}: {wrong}; nothing was unpacked")
            self._make_folder(act.path, 0o755)
            for member in members:
                self._unpack(archive, member, act.path / posixpath.normpath(member.name))

    def _unpack(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: HostPath) -> None:
        if member.isdir():
            self._make_folder(path)
        elif member.issym():
            self._put(path, Link(HostPath(member.linkname)))
        elif source := archive.extractfile(member):
            self._put(path, File(source.read(), (member.mode & 0o755) | 0o600))


def _digest(entry: File | Link | Folder) -> str:
    match entry:
        case File(content=content):
            return hashlib.sha256(content).hexdigest()
        case Link(target=target):
            return f"-> {target}"
        case Folder():
            return "folder"
