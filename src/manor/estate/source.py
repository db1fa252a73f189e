"""Reads YAML into values that remember file and line.

Reading goes by the events of libyaml, not by its composer, whose recursion a file of 100,000 brackets would crash.

Invariant: pure but for `read_text`; no tag is ever obeyed, and what an alias expands to is bounded.
Vendor: https://yaml.org/spec/1.2.2/ (scalars go by its core schema), https://pyyaml.org/wiki/PyYAMLDocumentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 40
FREE_VALUES = 20_000
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class Merge(str):
    """The key `<<` without quotes, which merges; in quotes it is a word like any other."""

    __slots__ = ()


MERGE = Merge("<<")
WORDS = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "<<": MERGE,
}


class Mark(NamedTuple):
    """A place in one of the user's files."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return `file:line`."""
        return f"{self.file}:{self.line}"


class Float(str):
    """A number with a point, as it is written; so that `1.10` can still be text where text is wanted."""

    __slots__ = ()


class Node:
    """One value and where it stands; a mapping's entry stands where its key does.

    `value` is a dict of nodes, a list of nodes, or a scalar: text, `Float`, whole number, true, false, None.
    """

    __slots__ = ("mark", "text", "value", "weight")

    def __init__(self, value: Any, mark: Mark, text: str = "", weight: int = 1) -> None:
        """Keep a value, its mark, a scalar's text as written, and how many values it holds when every alias is expanded."""
        self.value = value
        self.mark = mark
        self.text = text
        self.weight = weight

    @property
    def entries(self) -> dict[str, Node]:
        """Return a mapping's entries; of anything else none."""
        return self.value if isinstance(self.value, dict) else {}

    def child(self, key: str | int) -> Node | None:
        """Return the entry or item, or None."""
        if isinstance(self.value, dict):
            return self.value.get(str(key))
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            child: Node = self.value[key]
            return child
        return None

    def at(self, path: tuple[str | int, ...]) -> Node | None:
        """Return what stands at the path below, or None."""
        node: Node | None = self
        for key in path:
            node = node.child(key) if node else None
        return node

    def nearest(self, path: tuple[str | int, ...]) -> Node:
        """Return what stands at the path, or the closest value above it."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                return node
            node = child
        return node

    def plain(self) -> Any:
        """Return the value without marks; a `Float` stays text."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return str(self.value) if isinstance(self.value, Float | Merge) else self.value


class SourceError(Exception):
    """A file that cannot be read at all; carries the mark and what to do."""

    def __init__(self, mark: Mark, wrong: str) -> None:
        """Keep where and what."""
        super().__init__(f"{mark}: {wrong}")
        self.mark = mark
        self.wrong = wrong


def read_text(path: Path, name: str) -> str:
    """Return a file's text. Raises SourceError if it is missing, too large or not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(Mark(name, 1), f"cannot be read: {error.strerror}; give the path of an estate file, or write one with `manor init`") from error
    if len(content) > MAX_BYTES:
        raise SourceError(Mark(name, 1), f"larger than {MAX_BYTES // 1024 // 1024} MiB; an estate file holds declarations only")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SourceError(Mark(name, line), "not UTF-8; save the file in that encoding") from error


def parse_yaml(text: str, name: str) -> Node:
    """Return the tree of a YAML text. Raises SourceError with the line of the first fault."""
    try:
        return _Tree(name, max(FREE_VALUES, len(text))).build(yaml.parse(text, Loader=yaml.CBaseLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise SourceError(Mark(name, mark.line + 1 if mark else 1), f"not YAML: {what}; check indentation, brackets and quotes there") from error
    except yaml.YAMLError as error:
        raise SourceError(Mark(name, 1), f"not YAML: {str(error).splitlines()[0]}; remove control characters") from error


def parse_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by YAML 1.2's core schema; on, off, yes and no are text."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    return Float(text) if FLOAT.fullmatch(text) else text


class _Open:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "key", "merge", "merged", "merging", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: tuple[str, Mark] | None = None
        self.merge: Mark | None = None
        """Where `<<` stands, once it does; `merging` while its value is read."""
        self.merging = False
        self.merged: list[Node] = []


class _Tree:
    """Builds nodes from events, without recursion."""

    def __init__(self, name: str, most_values: int) -> None:
        self.name = name
        self.most_values = most_values
        self.anchors: dict[str, Node | None] = {}
        self.stack: list[_Open] = []
        self.root: Node | None = None
        self.last = Mark(name, 1)

    def build(self, events: Iterator[Any]) -> Node:
        """Return the root; the most frequent kinds of event are looked for first."""
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self.add(self.scalar(event), event.anchor)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.close()
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self.open(event)
            elif kind is yaml.AliasEvent:
                self.add(self.alias(event), None)
            elif kind is yaml.DocumentStartEvent:
                self.refuse_second(event)
        return self.root or Node({}, Mark(self.name, 1))

    def mark(self, event: Any) -> Mark:
        """Return where an event begins; one object a line, there are many events on each."""
        line = event.start_mark.line + 1
        if line != self.last.line:
            self.last = Mark(self.name, line)
        return self.last

    def refuse_second(self, event: Any) -> None:
        if self.root is not None:
            raise SourceError(self.mark(event), "a second document; an estate file holds one, put more files into estate.d")

    def refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            raise SourceError(self.mark(event), f"the tag {event.tag} is not allowed; write plain YAML without tags")

    def scalar(self, event: Any) -> Node:
        self.refuse_tag(event)
        text: str = event.value
        return Node(parse_scalar(text) if not event.style else text, self.mark(event), text)

    def alias(self, event: Any) -> Node:
        known = self.anchors.get(event.anchor)
        if known is None:
            what = "refers to itself" if event.anchor in self.anchors else "has no anchor before it"
            raise SourceError(self.mark(event), f"*{event.anchor} {what}; write the value out")
        return Node(known.value, self.mark(event), known.text, known.weight)

    def open(self, event: Any) -> None:
        self.refuse_tag(event)
        if len(self.stack) >= MAX_DEPTH:
            raise SourceError(self.mark(event), f"nested deeper than {MAX_DEPTH} levels; no declaration is")
        if event.anchor:
            self.anchors[event.anchor] = None
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.stack.append(_Open(Node(value, self.mark(event)), event.anchor))

    def close(self) -> None:
        done = self.stack.pop()
        for merged in done.merged:
            for key, child in merged.entries.items():
                if key not in done.node.value:
                    done.node.value[key] = child
                    done.node.weight += child.weight
        self.add(done.node, done.anchor)

    def add(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
        elif parent.key is None:
            self.begin_entry(parent, node)
            return
        else:
            self.end_entry(parent, parent.key, node)
        self.weigh(parent.node, node)

    def begin_entry(self, parent: _Open, key: Node) -> None:
        if isinstance(key.value, dict | list):
            raise SourceError(key.mark, "a key must be a word; check brackets and colons there")
        is_merge = key.value is MERGE
        before = parent.node.value.get(key.text)
        first = parent.merge if is_merge else before.mark if before else None
        if first:
            path = ".".join([*(entry.key[0] for entry in self.stack if entry.key), key.text])
            raise SourceError(key.mark, f"{path}: this key stands twice, first in line {first.line}; keep one of them")
        parent.key = (key.text, key.mark)
        if is_merge:
            parent.merge, parent.merging = key.mark, True

    def end_entry(self, parent: _Open, entry: tuple[str, Mark], node: Node) -> None:
        key, mark = entry
        parent.key = None
        if parent.merging:
            parent.merging = False
            parent.merged.extend(self.mappings(node))
            return
        parent.node.value[key] = Node(node.value, mark, node.text, node.weight)

    def mappings(self, node: Node) -> list[Node]:
        """Return the mappings that a `<<` merges."""
        found = node.value if isinstance(node.value, list) else [node]
        wrong = next((one for one in found if not isinstance(one.value, dict)), None)
        if wrong is not None:
            raise SourceError(
                wrong.mark, "`<<` merges mappings only; write <<: *name or <<: [*first, *second], or put it into quotes to have a key of that name"
            )
        return found

    def weigh(self, parent: Node, node: Node) -> None:
        parent.weight += node.weight
        if parent.weight > self.most_values:
            raise SourceError(node.mark, f"aliases expand to more than {self.most_values} values; write fewer")
