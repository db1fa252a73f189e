"""What stands in a command for the slot's address and port: `{address}`, `{port}`; `{{word}}` is the text `{word}` itself.

Invariant: pure; braces around anything but one word are text as they stand, so that JSON and awk need no escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"\{\{(?P<text>[A-Za-z_][A-Za-z0-9_]*)\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")
KNOWN = ("address", "port")


def placeholders_in(command: str) -> tuple[str, ...]:
    """Return the words that stand in single braces, each once."""
    return tuple(dict.fromkeys(found["name"] for found in PLACEHOLDER.finditer(command) if found["name"]))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return the text with its placeholders replaced; one that `values` lacks stays as it is."""
    return PLACEHOLDER.sub(lambda found: f"{{{found['text']}}}" if found["text"] else values.get(found["name"], found[0]), text)
