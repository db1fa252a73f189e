"""Laws of merging, for any trees."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manor.estate.overlays import changes, join, merge, without_nulls
from manor.estate.source import Mark, Node

KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.one_of(st.integers(0, 3), st.sampled_from(["x", "y"]), st.booleans())
VALUES = st.recursive(SCALARS | st.lists(SCALARS, max_size=2), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
TREES = st.dictionaries(KEYS, VALUES, max_size=3)
WITH_NULLS = st.dictionaries(KEYS, st.recursive(SCALARS | st.none(), lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8), max_size=3)


def node(value: Any, file: str = "base", line: int = 1) -> Node:
    if isinstance(value, dict):
        return Node({key: node(child, file, line + number) for number, (key, child) in enumerate(value.items())}, Mark(file, line))
    if isinstance(value, list):
        return Node([node(child, file, line) for child in value], Mark(file, line))
    return Node(value, Mark(file, line), str(value))


def laid(base: Any, over: Any) -> Any:
    """The definition, on plain values."""
    if not isinstance(over, dict):
        return over
    below = base if isinstance(base, dict) else {}
    merged = {key: value for key, value in below.items() if key not in over}
    return merged | {key: laid(below.get(key), value) for key, value in over.items() if value is not None}


@given(TREES, WITH_NULLS)
def test_merge_is_what_it_says(base: dict[str, Any], over: dict[str, Any]) -> None:
    assert merge(node(base), node(over)).plain() == laid(base, over)


@given(TREES)
def test_nothing_laid_over_changes_nothing(base: dict[str, Any]) -> None:
    tree = node(base)
    merged = merge(tree, node({}))
    assert merged.plain() == base
    assert all(merged.entries[key] is tree.entries[key] for key in base)


@given(TREES)
def test_twice_is_once(base: dict[str, Any]) -> None:
    assert merge(node(base), node(base)).plain() == base


@given(TREES, TREES)
def test_values_keep_their_marks(base: dict[str, Any], over: dict[str, Any]) -> None:
    for key, child in merge(node(base), node(over, "over")).entries.items():
        if not isinstance(child.value, dict):
            assert child.mark.file == ("over" if key in over else "base")


@given(TREES, WITH_NULLS)
def test_changes_are_empty_exactly_when_nothing_changed(base: dict[str, Any], over: dict[str, Any]) -> None:
    merged = merge(node(base), node(over))
    assert (list(changes(node(base), merged)) == []) == (merged.plain() == base)


@given(TREES, TREES)
def test_join_finds_what_stands_twice(first: dict[str, Any], second: dict[str, Any]) -> None:
    joined, twice = join(node(first), node(second, "second"))
    clash = {key for key in first.keys() & second.keys() if not (isinstance(first[key], dict) and isinstance(second[key], dict))}
    assert clash <= {str(both.path[0]) for both in twice}
    if not twice:
        assert joined.plain() == laid(first, second)


@given(WITH_NULLS)
def test_without_nulls(tree: dict[str, Any]) -> None:
    assert without_nulls(node(tree)).plain() == laid({}, tree)
