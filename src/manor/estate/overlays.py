"""Deep merge by key: lists and scalars replace, `null` deletes (docs/estate.md, overlays).

Invariant: pure; what an overlay does not mention is the very same object afterwards, so that it is validated once.
"""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.source import Node

Path = tuple[str | int, ...]


def merge(base: Node, over: Node) -> Node:
    """Return base with the overlay's keys laid over it; each value keeps the mark it came with."""
    if not isinstance(over.value, dict):
        return over
    below = base.entries
    merged = dict(below)
    for key, child in over.value.items():
        if child.value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(below[key], child) if key in below else without_nulls(child)
    return Node(merged, over.mark if not below else base.mark)


def without_nulls(node: Node) -> Node:
    """Return the node without mapping entries that are `null`; itself if there are none."""
    if not isinstance(node.value, dict):
        return node
    kept = {key: without_nulls(child) for key, child in node.value.items() if child.value is not None}
    if len(kept) == len(node.value) and all(kept[key] is node.value[key] for key in kept):
        return node
    return Node(kept, node.mark)


def changes(base: Node | None, merged: Node | None, path: Path = ()) -> Iterator[Path]:
    """Yield the paths at which the merged value differs from the base."""
    if base is merged:
        return
    if base is None or merged is None:
        yield path
    elif isinstance(base.value, dict) and isinstance(merged.value, dict):
        for key in sorted({*base.value, *merged.value}):
            yield from changes(base.value.get(key), merged.value.get(key), (*path, key))
    elif base.plain() != merged.plain():
        yield path


class DeclaredTwice(Exception):
    """The same key stands in two files."""

    def __init__(self, path: Path, first: Node, second: Node) -> None:
        """Keep the path and both places."""
        super().__init__(".".join(map(str, path)))
        self.path = path
        self.first = first
        self.second = second


def join(first: Node, second: Node, path: Path = ()) -> tuple[Node, list[DeclaredTwice]]:
    """Return two files' declarations as one, and what both declare; mappings are joined, everything else may stand once."""
    if not (isinstance(first.value, dict) and isinstance(second.value, dict)):
        return first, [DeclaredTwice(path, first, second)]
    joined = dict(first.value)
    twice: list[DeclaredTwice] = []
    for key, child in second.value.items():
        if key in joined:
            joined[key], more = join(joined[key], child, (*path, key))
            twice += more
        else:
            joined[key] = child
    return Node(joined, first.mark), twice
