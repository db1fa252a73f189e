"""Whatever stands in the file, loading ends with an estate or with problems that name a line; never otherwise."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.load import load_estate
from manor.estate.source import parse_yaml
from tests.estate.products import PRODUCTS
from tests.estate.test_load import EXAMPLE

LINE = re.compile(r"(estate\.yaml|estate\.d/[^:]+):\d+: ")
WHOLE: dict[str, Any] = parse_yaml(EXAMPLE.read_text(), "estate.yaml").plain()
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["web", "1s", "/x", "5%", "prod", "edge", "shop", "999999999d", "10MB", '"', "{", "127.0.0.1"]),
    st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers()), max_size=2),
    st.dictionaries(st.sampled_from(["web", "on", "port", "x y", ""]), st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=2),
)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_told_or_loaded(folder: Path, text: str) -> None:
    (folder / "estate.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_estate(folder / "estate.yaml", PRODUCTS)
    except InvalidEstate as error:
        assert_in_form(error.problems)


def assert_in_form(problems: tuple[str, ...]) -> None:
    assert problems
    assert [problem for problem in problems if not LINE.match(problem) or "; " not in problem] == []


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    tree = copy.deepcopy(tree)
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return tree


@FAST
@given(st.text(max_size=60) | st.text("ab:{}[]-&*!?|>'\"%@,# \n\t\x000", max_size=40))
@example("[" * 5000)
@example("- " * 5000)
@example("? " * 5000)
@example("a: &a [*a]")
@example("<<: 5")
@example("environments: {dev: {services: null, traffic: null, hosts: null}}\nestate: a")
def test_any_text(tmp_path: Path, text: str) -> None:
    assert_told_or_loaded(tmp_path, text)


@FAST
@given(st.sampled_from(paths(WHOLE)[1:]), WRONG)
def test_any_value_anywhere(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    assert_told_or_loaded(tmp_path, json.dumps(put(WHOLE, path, value), ensure_ascii=False))


@FAST
@given(st.sampled_from(paths(WHOLE["services"]["shop"])[1:]), WRONG)
def test_any_value_in_an_overlay(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    first = tuple(key for key in path if isinstance(key, str))
    overlay: Any = value
    for key in reversed(first):
        overlay = {key: overlay}
    tree = put(WHOLE, ("environments", "dev"), {"services": {"shop": overlay}})
    assert_told_or_loaded(tmp_path, json.dumps(tree, ensure_ascii=False))


@pytest.mark.parametrize("depth", [30_000, 200_000])
def test_deep_nesting_does_not_crash_the_reader(tmp_path: Path, depth: int) -> None:
    assert_told_or_loaded(tmp_path, "[" * depth + "]" * depth)
