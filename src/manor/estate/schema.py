"""The JSON Schema of the file as a user writes it: short forms, overlays, and what is required where.

Invariant: made from the models, so that a key is declared once; what is not supported yet is not in it.
Standard: https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from manor.estate.environments import EnvironmentHead
from manor.estate.hosts import MOST_LOCAL_HOSTS
from manor.estate.load import EstateHead
from manor.estate.model import Host, Service, TierRule, Traffic
from manor.estate.topology import Role
from manor.estate.units import NAME

Schema = dict[str, Any]
DEFINITIONS = "#/$defs/"
NAMES: Schema = {"pattern": f"^(?:{NAME.pattern})$"}
SCALAR: Schema = {"type": ["string", "number", "boolean"]}


def estate_schema() -> Schema:
    """Return the JSON Schema of `estate.yaml`."""
    models = (EstateHead, EnvironmentHead, Service, Host, TierRule, Traffic)
    found = models_json_schema([(model, "validation") for model in models], by_alias=True, ref_template=DEFINITIONS + "{model}")[1]
    definitions: Schema = found["$defs"]
    for definition in definitions.values():
        definition["properties"] = {key: _closed(value) for key, value in definition["properties"].items()}
    definitions["Run"]["properties"]["env"]["additionalProperties"] = SCALAR
    definitions["Service"] = _with_profile(definitions["Service"])
    definitions["Host"] = _without_name(definitions["Host"])
    definitions["Tier"] = _tier(definitions.pop("TierRule"))
    definitions["Traffic"]["properties"]["chain"] = {"type": "array", "minItems": 1, "items": _reference("Tier"), "description": "outermost tier first"}
    _add_overlays(definitions, ("Service", "Traffic"))
    definitions["Environment"] = _environment(definitions.pop("EnvironmentHead"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_root(definitions.pop("EstateHead")), "$defs": dict(sorted(definitions.items()))}


def _closed(value: Schema) -> Schema:
    """Refuse keys that do not match, which pydantic's `patternProperties` leaves open."""
    if "patternProperties" not in value:
        return value
    (pattern, inner), *_ = value["patternProperties"].items()
    rest = {key: part for key, part in value.items() if key != "patternProperties"}
    return rest | {"propertyNames": {"pattern": pattern}, "additionalProperties": _closed(inner)}


def _reference(name: str) -> Schema:
    return {"$ref": DEFINITIONS + name}


def _by_name(inner: Schema) -> Schema:
    return {"type": "object", "propertyNames": NAMES, "additionalProperties": inner}


def _with_profile(service: Schema) -> Schema:
    """Require what the profile does not give: a static service has a port, every other a program and a health check."""
    is_static = {"properties": {"profile": {"const": "static"}}, "required": ["profile"]}
    static = {"required": ["port"], "properties": {"run": False}}
    return {key: value for key, value in service.items() if key != "required"} | {"if": is_static, "then": static, "else": {"required": ["run", "health"]}}


def _without_name(host: Schema) -> Schema:
    properties = {key: value for key, value in host["properties"].items() if key != "name"}
    return {key: value for key, value in host.items() if key != "required"} | {"properties": properties}


def _tier(rule: Schema) -> Schema:
    """Return a tier as it is written: its role is a key, the product its value."""
    rest = {key: value for key, value in rule["properties"].items() if key not in ("role", "product")}
    roles = {role.value: {"type": "string", "description": f"the product that is the {role.value}"} for role in Role}
    return rule | {"properties": roles | rest, "required": [], "oneOf": [{"required": [role.value]} for role in Role]}


def _environment(head: Schema) -> Schema:
    host = {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MOST_LOCAL_HOSTS, "description": "so many local hosts in the group of this name"},
            _reference("Host"),
        ]
    }
    sections: Schema = {
        "hosts": {**_by_name(host), "description": "its hosts: counts by group, or hosts by name; none is one local host in every group"},
        "services": {"type": "object", "additionalProperties": {"anyOf": [_reference("ServiceOverlay"), {"type": "null"}]}, "description": "what differs here"},
        "traffic": _reference("TrafficOverlay"),
    }
    return head | {"properties": head["properties"] | sections, "type": ["object", "null"]}


def _root(head: Schema) -> Schema:
    sections: Schema = {
        "services": {**_by_name(_reference("Service")), "description": "what is delivered"},
        "traffic": _reference("Traffic"),
        "environments": {**_by_name(_reference("Environment")), "minProperties": 1, "description": "its variants, in order of promotion by `after`"},
    }
    return head | {"title": "estate.yaml", "properties": head["properties"] | sections, "required": ["estate", "environments"]}


def _add_overlays(definitions: Schema, names: tuple[str, ...]) -> None:
    """Add `<name>Overlay` for each definition and those that its keys lead to: nothing is required, and null deletes."""
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if f"{name}Overlay" in definitions:
            continue
        plain = {key: value for key, value in definitions[name].items() if key not in ("required", "if", "then", "else")}
        properties = plain.get("properties", {})
        inner = {name for value in properties.values() for name in _direct_references(value) if name != "Tier"}
        waiting += sorted(inner)
        definitions[f"{name}Overlay"] = plain | {"properties": {key: _or_null(_overlaid(value, inner)) for key, value in properties.items()}}


def _direct_references(value: Schema) -> list[str]:
    choices = [value, *value.get("anyOf", ())]
    return [choice["$ref"].removeprefix(DEFINITIONS) for choice in choices if "$ref" in choice]


def _overlaid(value: Schema, inner: set[str]) -> Schema:
    """Point a value's own references at overlays; items of lists are replaced whole and stay as they are."""
    changed = {**value}
    if value.get("$ref", "").removeprefix(DEFINITIONS) in inner:
        changed["$ref"] = f"{value['$ref']}Overlay"
    if "anyOf" in value:
        changed["anyOf"] = [_overlaid(choice, inner) for choice in value["anyOf"]]
    return changed


def _or_null(value: Schema) -> Schema:
    if {"type": "null"} in value.get("anyOf", ()):
        return value
    return {"anyOf": [value, {"type": "null"}]}
