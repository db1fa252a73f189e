"""What `make docs` writes is what is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import DOCS
from tools.write_docs import generated

PAGES = generated()


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text() == PAGES[page], "run `make docs`"
