"""The generated JSON Schema, judged by other people's validator, agrees with `load_estate`."""

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from manor.estate.schema import estate_schema
from tests.estate.test_load import EXAMPLE, SMALL

ERRORS = Path(__file__).parent / "errors"
SHAPES = [
    "chain_missing", "differences_without_reason", "missing_health", "names", "no_environments", "not_yet", "out_of_range", "split_file",
    "unknown_keys", "untouchable_shapes", "version", "words", "wrong_kinds", "wrong_units", "static_profile", "empty", "overlay_path",
]  # fmt: skip
"""Cases whose fault is one of shape; the others are about parts among each other, which a schema cannot say."""


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = estate_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def parsed(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=Core)


class Core(yaml.SafeLoader):
    """YAML without dates and without on and off as truth values, as an editor reads it."""


Core.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in found if tag.rsplit(":", 1)[1] not in ("timestamp", "bool") or (first in "tTfF" and tag.endswith(":bool"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@pytest.mark.parametrize("text", [EXAMPLE.read_text(), SMALL], ids=["example", "small"])
def test_good_estates_are_accepted(validator: jsonschema.Draft202012Validator, text: str) -> None:
    assert [error.message for error in validator.iter_errors(yaml.load(text, Loader=Core))] == []


@pytest.mark.parametrize("case", SHAPES)
def test_wrong_shapes_are_refused(validator: jsonschema.Draft202012Validator, case: str) -> None:
    folder = ERRORS / case
    files = [*folder.glob("estate.d/*.yaml")] or [folder / "estate.yaml"]
    assert any(not validator.is_valid(parsed(file)) for file in files)


def test_every_key_is_described() -> None:
    schema = estate_schema()
    parts = {"": schema, **schema["$defs"]}
    bare = [f"{name}.{key}" for name, part in parts.items() for key, value in part.get("properties", {}).items() if not _description(value)]
    assert [key for key in bare if key.split(".")[1] != "traffic"] == []


def _description(value: dict[str, Any]) -> bool:
    return "description" in value or any(_description(choice) for choice in value.get("anyOf", ()))
