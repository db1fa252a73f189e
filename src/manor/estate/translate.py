"""Validates a part of the file against its model, and says what is wrong in our words.

Invariant: every finding names the key as the user wrote it, and what to do.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from manor.estate.not_yet import Refuses, find_not_yet, keys_at
from manor.estate.overlays import Path
from manor.estate.problems import Finding, suggestion
from manor.estate.source import Node
from manor.estate.units import DURATION, SIZE, format_duration, format_size, show

Model = TypeVar("Model", bound=BaseModel)

LAST_SERVICE_PORT = 55_533
WHY_NO_HIGHER = "the web tier listens for it on the port + 10000 and + 10001, and the last port there is is 65535"
MISSING = {
    "health": "a service without a health check cannot be rolled out safely. Add e.g. health: {http: /healthz}",
    "command": 'nothing says how to start it. Add e.g. command: "serve --host {address} --port {port}"',
    "port": "nothing says where it listens. Add e.g. port: 8100",
    "host": "nothing says which requests are meant. Add e.g. host: shop",
    "path": "nothing says which path is meant. Add e.g. path: /static",
    "dir": "nothing says which folder of the release is served. Add e.g. dir: public",
    "from": "nothing says what is moved. Add e.g. from: old.acme.example/shop",
    "to": "nothing says where it moved. Add e.g. to: https://shop.acme.example/",
    "ttl": "nothing says how long an answer is fresh. Add e.g. ttl: 5m",
    "chain": "a traffic section needs the chain of tiers. Add e.g. chain: [{balancer: …}, {web: …}], or remove the section",
    "estate": "an estate needs a name. Add e.g. estate: acme-health",
}


def validate(model: type[Model], node: Node, table: dict[Path, Refuses], sections: Iterable[str] = ()) -> tuple[Model | None, list[Finding]]:
    """Return the part, or None and what is wrong with it; what is not supported yet is said once and not called unknown.

    `sections` are keys beside it that are read elsewhere, for suggestions.
    """
    refused = find_not_yet(node, table)
    try:
        part = model.model_validate(node.plain(), by_alias=True, by_name=False)
    except ValidationError as error:
        hidden = {finding.path for finding in refused}
        found = [_finding(model, fault, table, sections) for fault in error.errors(include_url=False)]
        return None, refused + [finding for finding in found if not _is_below(finding.path, hidden)]
    return (None if refused else part), refused


def _is_below(path: Path, hidden: set[Path]) -> bool:
    return any(path[: len(above)] == above for above in hidden)


def _finding(model: type[BaseModel], fault: Any, table: dict[Path, Refuses], sections: Iterable[str]) -> Finding:
    path: Path = tuple(part for part in fault["loc"] if part != "[key]")
    if fault["type"] == "extra_forbidden":
        known = known_keys(model, path[:-1]) | keys_at(table, path[:-1]) | (set(sections) if len(path) == 1 else set())
        return Finding(path, f"unknown key; {suggestion(str(path[-1]), known)}")
    return Finding(path, _words_for(fault, path))


def _words_for(fault: Any, path: Path) -> str:
    value, context = fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return f"missing; {MISSING.get(str(path[-1]), 'add it')}"
        case "literal_error":
            choices = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
            return f"{show(value)} is not one of {', '.join(choices)}; {_nearest(str(value), choices)}"
        case "value_error":
            return str(context["error"])
        case "greater_than_equal" | "greater_than":
            return f"{value} is too small; {'at least' if 'ge' in context else 'more than'} {_bound(value, context.get('ge', context.get('gt')))}"
        case "less_than_equal" | "less_than":
            most = context.get("le", context.get("lt"))
            why = f", because {WHY_NO_HIGHER}" if path[-1] == "port" and most == LAST_SERVICE_PORT else ""
            return f"{value} is too large; at most {_bound(value, most)}{why}"
        case kind:
            return _wrong_kind(kind, value) or f"{show(value)}: {fault['msg']}; see docs/reference.md"


def _bound(value: object, bound: float) -> str:
    """Return a bound in the unit that the value is written in."""
    if isinstance(value, str) and DURATION.fullmatch(value):
        return format_duration(bound)
    if isinstance(value, str) and SIZE.fullmatch(value):
        return format_size(int(bound))
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _wrong_kind(kind: str, value: object) -> str:
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return f"{show(value)} is not a whole number; write digits without quotes or unit"
    if kind.startswith("float"):
        return f"{show(value)} is not a number; write digits"
    if kind == "string_type":
        return f"{show(value)} is not text; put it in quotes" if not isinstance(value, dict | list) else f"{show(value)} is not text; write one word or line"
    if kind.startswith("bool"):
        return f"{show(value)} is neither true nor false; write one of them"
    if kind in ("tuple_type", "list_type"):
        return f"{show(value)} is not a list; write [first, second]"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{show(value)} is not a mapping; write {{key: value}}"
    return ""


def _nearest(word: str, choices: list[str]) -> str:
    found = suggestion(word, choices)
    return found if found.startswith("did") else "choose one of them"


def known_keys(model: type[BaseModel], path: Path) -> set[str]:
    """Return the keys that the model knows at a path."""
    kind: object = model
    for part in path:
        kind = _inner(kind, part)
    found = _model_of(kind)
    return {field.alias or name for name, field in found.model_fields.items()} if found else set()


def _model_of(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for argument in get_args(kind) if (found := _model_of(argument))), None)


def _inner(kind: object, part: str | int) -> object:
    if typing.get_origin(kind) in (dict, tuple):
        arguments = get_args(kind)
        return arguments[1] if typing.get_origin(kind) is dict else arguments[0]
    found = _model_of(kind)
    fields = found.model_fields if found else {}
    return next((field.annotation for name, field in fields.items() if part in (name, field.alias)), None)
