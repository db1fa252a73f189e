"""A product is named nowhere in the package outside its own folder: adding or removing one touches that folder only.

The names come from the registry. Docs (*.md), examples and tests may name products.

Rule for plain words: a name that is also an ordinary word of this code (a static file, a generic profile, the supervisor of a host) can't be
looked for as such. Its row in PLAIN_WORDS says what only the product would be called; an empty row leaves that product to the contracts of
import-linter, which hold anyway. A word may stand there only if it is an English noun or adjective.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manor import registry
from tests.architecture.sources import PACKAGE, ROOT, files

PLAIN_WORDS: dict[str, tuple[str, ...]] = {
    "embedded": (),
    "email": (),
    "environment": (),
    "files": (),
    "generic": (),
    "hosted": (),
    "local": (),
    "process": (),
    "static": (),
    "supervisor": ("supervisord", "supervisorctl"),
    "vault": (),
    "webhook": (),
}
TEXT = frozenset({".py", ".sh", ".yaml", ".html", ".css", ".js", ".sql", ".toml", ".json", ".vcl", ".mako", ""})


def product_names() -> list[str]:
    """Return every product's name once."""
    return sorted({name for kind in registry.kinds() for name in registry.products(kind)})


def mentions(name: str) -> re.Pattern[str]:
    """Return the pattern that finds a product, also within CamelCase, snake_case and names of its files."""
    words = PLAIN_WORDS.get(name, (name,))
    spelled = "|".join(re.escape(word).replace("_", "[ _-]?") for word in words)
    return re.compile(rf"(?<![a-z0-9])(?:{spelled})(?![a-z0-9])", re.IGNORECASE) if words else re.compile(r"(?!)")


def is_its_own(path: Path, name: str) -> bool:
    """Return whether a file lies in a folder `integrations/<kind>/<name>/`."""
    parts = path.relative_to(PACKAGE).parts
    return len(parts) > 3 and parts[0] == "integrations" and parts[2] == name


def outside(name: str) -> list[str]:
    """Return where in the package a product is named outside its folder, as `file:line: text`."""
    pattern, found = mentions(name), []
    for path in files():
        if path.is_relative_to(PACKAGE) and path.suffix in TEXT and not is_its_own(path, name):
            lines = enumerate(path.read_text().splitlines(), 1)
            found += [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for number, line in lines if pattern.search(line)]
    return found


@pytest.mark.parametrize("name", product_names())
def test_a_product_is_named_only_in_its_folder(name: str) -> None:
    assert outside(name) == []


@pytest.mark.parametrize(
    ("name", "line", "is_found"),
    [
        ("nginx", "proxy = 'nginx'", True),
        ("nginx", "from manor.integrations.proxies.nginx import render", True),
        ("nginx", "# as NGINX does", True),
        ("nginx", "nginx_conf = 1", True),
        ("nginx", "a phoenixnginxish word", False),
        ("node_exporter", "node-exporter, Node Exporter", True),
        ("supervisor", "the supervisor of the host", False),
        ("supervisor", "run supervisord", True),
        ("static", "a static file", False),
    ],
)
def test_what_counts_as_a_mention(name: str, line: str, is_found: bool) -> None:
    assert bool(mentions(name).search(line)) is is_found
