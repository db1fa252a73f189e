"""A disk that notes every call, and a model of what such a disk may hold after the power went at any moment.

The model is the harsh one: a file's content is there for sure only after `sync` of it (until then it may be torn), and a name, a rename or a
removal only after `sync` of its folder (until then the folder may show it or not).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from manor.execution.durable import Disk

TORN = b"(torn)"
Node: TypeAlias = "bytes | str | Tree"
"""A file's content, `-> target` of a link, or a folder."""


@dataclass(frozen=True)
class Tree:
    """A folder's names and what they hold, sorted."""

    entries: tuple[tuple[str, Node], ...] = ()


class RecordingDisk(Disk):
    """Does everything for real and notes it in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Path, object]] = []

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        content = b"".join(chunks)
        self.calls.append(("write", path, content))
        super().write(path, [content], mode)

    def link(self, path: Path, target: str) -> None:
        self.calls.append(("link", path, target))
        super().link(path, target)

    def name(self, path: Path, name: Path) -> None:
        self.calls.append(("name", path, name))
        super().name(path, name)

    def make_folder(self, path: Path, mode: int) -> None:
        self.calls.append(("make_folder", path, mode))
        super().make_folder(path, mode)

    def sync(self, path: Path) -> None:
        self.calls.append(("sync", path, None))
        super().sync(path)

    def sync_all(self, path: Path) -> None:
        self.calls.append(("sync_all", path, None))
        super().sync_all(path)

    def rename(self, source: Path, target: Path) -> None:
        self.calls.append(("rename", source, target))
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self.calls.append(("unlink", path, None))
        super().unlink(path)

    def remove_tree(self, path: Path) -> None:
        self.calls.append(("remove_tree", path, None))
        super().remove_tree(path)


@dataclass
class Inode:
    """A file, link or folder: what it holds now, and what it is sure to hold."""

    content: bytes | None = None
    link: str | None = None
    is_synced: bool = True
    now: dict[str, Inode] = field(default_factory=dict)
    sure: dict[str, Inode] = field(default_factory=dict)

    def settle(self) -> None:
        """Make this and all under it durable."""
        self.is_synced, self.sure = True, dict(self.now)
        for inode in self.now.values():
            inode.settle()

    def views(self) -> set[Node]:
        """Return what a reader after a crash may find here."""
        if self.content is not None:
            return {self.content} if self.is_synced else {self.content, TORN}
        if self.link is not None:
            return {f"-> {self.link}"}
        return {_tree(self.now), _tree(self.sure)}


def _tree(names: dict[str, Inode]) -> Tree:
    return Tree(tuple((name, next(iter(inode.views())) if len(inode.views()) == 1 else TORN) for name, inode in sorted(names.items())))


@dataclass
class Model:
    """The disk as it may be found after a crash, below one folder that was there before."""

    top: Path
    root: Inode = field(default_factory=Inode)

    def settle(self, path: Path, inode: Inode) -> None:
        """Put something there that was durable before."""
        parent = self.find(path.parent)
        parent.now[path.name] = parent.sure[path.name] = inode

    def find(self, path: Path) -> Inode:
        """Return what lies there now."""
        inode = self.root
        for name in path.relative_to(self.top).parts:
            inode = inode.now[name]
        return inode

    def carry_out(self, call: tuple[str, Path, object]) -> None:
        """Replay one call."""
        name, path, detail = call
        if name == "sync":
            inode = self.find(path)
            inode.is_synced, inode.sure = True, dict(inode.now)
            return
        if name == "sync_all":
            self.find(path).settle()
            return
        parent = self.find(path.parent)
        if name == "write":
            assert isinstance(detail, bytes)
            parent.now[path.name] = Inode(content=detail, is_synced=False)
        elif name == "link":
            parent.now[path.name] = Inode(link=str(detail))
        elif name == "make_folder":
            parent.now[path.name] = Inode()
        elif name == "name":
            assert isinstance(detail, Path)
            self.find(detail.parent).now[detail.name] = parent.now[path.name]
        elif name == "rename":
            assert isinstance(detail, Path)
            self.find(detail.parent).now[detail.name] = parent.now.pop(path.name)
        else:
            del parent.now[path.name]

    def views(self, path: Path) -> set[Node | None]:
        """Return everything that a reader of this path may find after a crash now; None: nothing."""
        parent = self.find(path.parent)
        found: set[Node | None] = set()
        for names in (parent.now, parent.sure):
            found |= names[path.name].views() if path.name in names else {None}
        return found


def crashes(model: Model, calls: list[tuple[str, Path, object]], path: Path) -> Iterator[set[Node | None]]:
    """Yield what may be found at a path after a crash before the first call, after it, after the second, and so on."""
    yield model.views(path)
    for call in calls:
        model.carry_out(call)
        yield model.views(path)
