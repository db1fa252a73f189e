"""The digest of a resolved estate: equal declarations, equal digest, however they are written or split.

Invariant: keys are sorted, nothing of the files' layout goes in; a part shared by environments is written out once.
"""

from __future__ import annotations

import hashlib
import json

from manor.estate.model import Environment, Estate, Part


def canonical_json(estate: Estate) -> str:
    """Return the estate as JSON with sorted keys and no spaces, without its digest."""
    seen: dict[int, str] = {}
    environments = {name: _environment(environment, seen) for name, environment in estate.environments.items()}
    rest = json.loads(estate.model_dump_json(exclude={"environments", "digest"}, by_alias=True))
    return _object({"environments": _object(environments), **{key: _text(value) for key, value in rest.items()}})


def digest_of(estate: Estate) -> str:
    """Return the sha256 over the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(estate).encode()).hexdigest()


def _environment(environment: Environment, seen: dict[int, str]) -> str:
    services = {name: _once(service, seen) for name, service in environment.services.items()}
    rest = json.loads(environment.model_dump_json(exclude={"services"}, by_alias=True))
    return _object({"services": _object(services), **{key: _text(value) for key, value in rest.items()}})


def _once(part: Part, seen: dict[int, str]) -> str:
    text = seen.get(id(part))
    if text is None:
        text = seen[id(part)] = _text(json.loads(part.model_dump_json(by_alias=True)))
    return text


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _object(parts: dict[str, str]) -> str:
    return "{" + ",".join(f"{_text(key)}:{parts[key]}" for key in sorted(parts)) + "}"
