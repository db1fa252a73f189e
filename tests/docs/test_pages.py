"""Every page that the package names exists, and every page can be reached from docs/index.md."""

from __future__ import annotations

import re

from tests.architecture.sources import PACKAGE, ROOT, files
from tests.docs.pages import DOCS, links

NAMED = re.compile(r"docs/[\w./-]+\.md")
CODE_SUFFIXES = {".py", ".sh", ".yaml", ".html", ".vcl", ".toml"}


def named_pages() -> dict[str, str]:
    """Return each page that the package names, and where."""
    code = [path for path in files() if path.suffix in CODE_SUFFIXES and PACKAGE in path.parents]
    return {page: path.relative_to(ROOT).as_posix() for path in code for page in NAMED.findall(path.read_text())}


def test_every_page_that_the_package_names_is_there() -> None:
    assert {page: where for page, where in named_pages().items() if not (ROOT / page).is_file()} == {}


def test_the_index_leads_to_every_page() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in links(DOCS / "index.md")}
    pages = {path.resolve() for path in files() if path.parent == DOCS and path.suffix == ".md" and path.name != "index.md"}
    assert sorted(path.name for path in pages - linked) == []


def test_the_map_names_every_folder() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    own = {path.relative_to(ROOT).parts[0] for path in files() if len(path.relative_to(ROOT).parts) > 1}
    package = {path.relative_to(PACKAGE).parts[0] for path in files() if PACKAGE in path.parents and len(path.relative_to(PACKAGE).parts) > 1}
    folders = {f"{name}/" for name in (own | package) if not name.startswith(".")} - {"src/"}
    assert sorted(name for name in folders if f"`{name}" not in text) == []
