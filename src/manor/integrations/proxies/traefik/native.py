"""Traefik's way of writing: YAML that is a Go template, rules with quoted strings, durations.

Invariant: no text that comes from the estate can end a string, open a template or add a key.
https://doc.traefik.io/traefik/reference/routing-configuration/http/routing/rules-and-priority/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import yaml

Native: TypeAlias = "Mapping[str, Native] | Sequence[Native] | str | int | float | bool"


class Plain(yaml.CSafeDumper):
    """Writes equal parts out each time, so that a person can read a router by itself."""

    def ignore_aliases(self, data: object) -> bool:
        """Never refer to another place."""
        return True


def document(content: Native, comment: str) -> bytes:
    """Return a static file: YAML with its keys in the order given."""
    return f"# {comment}\n{dumped(content)}".encode()


def template(content: Native, comment: str) -> bytes:
    """Return a file for the file provider, which expands Go templates in it before it reads the YAML: `{{` stays `{{`."""
    return f"# {comment}\n{escaped(dumped(content))}".encode()


def escaped(text: str) -> str:
    """Return text that a Go template expands to `text`."""
    return text.replace("{{", '{{"{{"}}')


def dumped(content: Native) -> str:
    """Return YAML in block style, in the order given, one line a value."""
    text: str = yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=False, width=100_000, allow_unicode=False)
    return text


def duration(seconds: float) -> str:
    """Return e.g. `2s`, `250ms`."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def quoted(text: str) -> str:
    """Return a string of the rule language, which has Go's syntax."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")


def call(name: str, *arguments: str) -> str:
    """Return a matcher, e.g. `Host("a.example")`."""
    return f"{name}({', '.join(map(quoted, arguments))})"


def any_of(rules: Sequence[str]) -> str:
    """Return a rule that holds when one of them does."""
    return rules[0] if len(rules) == 1 else f"({' || '.join(rules)})"


def all_of(*rules: str) -> str:
    """Return a rule that holds when all of them do; empty ones are left out."""
    return " && ".join(rule for rule in rules if rule)


def under(path: str) -> str:
    """Return the rule for a path and what lies under it by whole segments; empty for `/`."""
    if path == "/":
        return ""
    if path.endswith("/"):
        return call("PathPrefix", path)
    return any_of((call("Path", path), call("PathPrefix", path + "/")))


def larger_than(limit: int) -> str:
    """Return a regular expression for decimal numbers above the limit."""
    digits = str(limit)
    same_length = [digits[:place] + f"[{int(digit) + 1}-9]" + f"[0-9]{{{len(digits) - place - 1}}}" for place, digit in enumerate(digits) if digit != "9"]
    return "^0*(?:" + "|".join([*same_length, f"[1-9][0-9]{{{len(digits)},}}"]) + ")$"
