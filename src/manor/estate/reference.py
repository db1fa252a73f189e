"""Writes docs/reference.md from the models: every key, its kind, its default, and what it says.

Invariant: pure; the page is never edited by hand.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from manor.estate import units
from manor.estate.environments import EnvironmentHead
from manor.estate.load import EstateHead
from manor.estate.model import Host, RolloutRules, Service, Stop, TierRule, Traffic
from manor.estate.not_yet import ENVIRONMENT, ESTATE, SERVICE, TRAFFIC, Refuses
from manor.estate.overlays import Path
from manor.estate.timeouts import CLASS_TIMES, CLOSE_SECONDS, STOP_SECONDS
from manor.estate.topology import Role

KINDS = {
    units.Duration: "duration",
    units.Size: "size",
    units.Share: "share",
    units.Name: "name",
    units.HttpPath: "path of a URL",
    units.UrlPath: "path of a URL, without query",
    units.WholePath: "relative path",
    units.Date: "date",
    units.HostName: "host name",
    units.Address: "IP address",
    units.Domain: "domain",
    units.EnvValue: "text of one line",
    units.Unit: "name of a unit",
    units.User: "name of a user",
    units.Container: "name of a container",
    units.Variable: "name of a variable",
    units.Line: "text",
    units.Cookie: "name of a cookie",
    units.MovedFrom: "host and path",
    units.MovedTo: "URL or path",
    units.AbsolutePath: "absolute path",
}
MINUTE = 60.0
BY_CLASS = {
    (Stop, "timeout"): (STOP_SECONDS, CLOSE_SECONDS),
    (RolloutRules, "drain_timeout"): tuple(dict.fromkeys(times.drain_seconds for times in CLASS_TIMES.values())),
}
"""Defaults that depend on the classes of a service's routes; what is said of the key tells which is whose."""
PLAIN = {int: "whole number", str: "text", bool: "true or false", float: "number", object: "any value"}
PAGES: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("", EstateHead, "the whole file; beside these `services`, `traffic` and `environments`"),
    ("services.<name>", Service, "what is delivered and answers requests"),
    ("traffic", Traffic, "how requests flow; absent: the default chain `router cache balancer web`"),
    ("traffic.chain[]", TierRule, "one tier: its `role` is the key and its `product` the value, with further keys beside, e.g. `{web: …, on: web}`"),
    ("environments.<name>", EnvironmentHead, "one variant of the estate; beside these `hosts`, and `services` and `traffic` as overlays"),
    ("environments.<name>.hosts.<name>", Host, "a machine; `<group>: <count>` is short for so many local hosts `<group>-1` and on in that group"),
)
HEADER = """# Reference of estate.yaml

Written from the models in `src/manor/estate` by `make docs`; don't edit it.
The rules are in [estate.md](estate.md), an example with comments in [estate.example.yaml](estate.example.yaml).

| kind | written | in words |
|---|---|---|
| duration | `250ms`, `30s`, `10m`, `1h`, `30d` | a number with its unit |
| size | `64KiB`, `512MiB`, `10MB` | a number with its unit |
| share | `75%` | a percentage |
| name | `shop-2` | a-z, 0-9 and -, beginning with a letter, at most 31 characters |
"""
NOT_YET = """
## Not supported yet

These keys and values are known, and refused with `not supported yet`: they are never ignored.

"""


def render_reference() -> str:
    """Return the page, in Markdown."""
    sections = [part for path, model, about in PAGES for part in _sections(path, model, about)]
    return HEADER + "".join(sections) + NOT_YET + "".join(f"- `{line}`\n" for line in not_yet_lines())


def not_yet_lines() -> tuple[str, ...]:
    """Return the paths of all that is known and not supported yet, sorted."""
    tables = (("", ESTATE), ("services.<name>.", SERVICE), ("traffic.", TRAFFIC), ("environments.<name>.", ENVIRONMENT))
    return tuple(sorted(_not_yet_line(prefix, path, refuses) for prefix, table in tables for path, refuses in table.items()))


def _not_yet_line(prefix: str, path: Path, refuses: Refuses) -> str:
    key = prefix + ".".join(map(str, path)).replace(".*", "[]")
    return f"{key}: {refuses.said}" if refuses.said else key


def _sections(path: str, model: type[BaseModel], about: str) -> Iterator[str]:
    title = f"`{path}`" if path else "The file"
    rows = "".join(_row(model, name, field) for name, field in model.model_fields.items() if (model, name) != (Host, "name"))
    if model is TierRule:
        rows = "".join(f"| `{role}` | product | | the product that is the {role}; exactly one of these keys |\n" for role in Role)
        rows += "".join(_row(model, name, field) for name, field in model.model_fields.items() if name not in ("role", "product"))
    yield f"\n## {title}\n\n{about[0].upper()}{about[1:]}.\n\n| key | kind | default | what it says |\n|---|---|---|---|\n{rows}"
    for name, field in model.model_fields.items():
        inner, suffix = _inner_model(field.annotation)
        if inner is not None and inner is not TierRule:
            yield from _sections(f"{path}.{field.alias or name}{suffix}", inner, (inner.__doc__ or "").rstrip("."))


def _row(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    kind = _kind(_rejoined(field)).replace("|", "\\|")
    text = (field.description or "").replace("|", "\\|")
    return f"| `{field.alias or name}` | {kind} | {_by_class(model, name) or _default(field)} | {text} |\n"


def _by_class(model: type[BaseModel], name: str) -> str:
    """Return a default that depends on the classes of routes, as it is written, or nothing."""
    seconds = BY_CLASS.get((model, name), ())
    spelled = (f"{one:g}s" if one < 2 * MINUTE else units.format_duration(one) for one in seconds)
    return f"`{' / '.join(spelled)}`" if seconds else ""


def _rejoined(field: FieldInfo) -> Any:
    """Return the annotation with its metadata, which pydantic keeps apart."""
    for alias in KINDS:
        if all(part in field.metadata for part in get_args(alias)[1:]) and get_args(alias)[0] == field.annotation:
            return Annotated[(alias, *(part for part in field.metadata if _is_bound(part)))] if any(map(_is_bound, field.metadata)) else alias
    return field.annotation


def _is_bound(part: object) -> bool:
    return isinstance(part, AfterValidator) and isinstance(part.func, units.Within)


def _without_bounds(annotation: Any) -> tuple[Any, str]:
    """Return the annotation as one of `KINDS` knows it, and the bounds that a person writes."""
    parts = get_args(annotation) if get_origin(annotation) is Annotated else ()
    bounds = [part.func for part in parts if _is_bound(part)]
    kept = [part for part in parts if not _is_bound(part)]
    return (Annotated[tuple(kept)] if bounds else annotation), "".join(f", {bound.least} to {bound.most}" for bound in bounds)


def _kind(annotation: Any) -> str:
    annotation, bounds = _without_bounds(annotation)
    if annotation in KINDS:
        return KINDS[annotation] + bounds
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = get_origin(annotation), [part for part in get_args(annotation) if part is not type(None)]
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        return f"list of: {_kind(arguments[0])}"
    if origin is dict:
        return f"by {_kind(arguments[0])}: {_kind(arguments[1])}"
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return _kind(arguments[0])
    return "see below"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value is PydanticUndefined or value == () or value == "":
        return ""
    alias, _ = _without_bounds(_rejoined(field))
    if alias == units.Duration:
        return f"`{units.format_duration(value)}`"
    if alias == units.Share:
        return f"`{units.format_share(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _inner_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model that a field leads to, and how its path goes on."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    suffix = "[]" if origin is tuple else ".<name>" if origin is dict else ""
    for part in arguments:
        inner, more = _inner_model(part)
        if inner is not None:
            return inner, suffix + more
    return None, ""
