"""Every kind of product says how to add one, and every product has its page beside its code."""

from __future__ import annotations

import pytest

from manor import registry

ALL = [(kind, product) for kind in registry.kinds() for product in registry.products(kind)]


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_kind_says_how_to_add_one(kind: str) -> None:
    assert "should it exist?" in (registry.INTEGRATIONS / kind / "README.md").read_text().lower()


@pytest.mark.parametrize(("kind", "product"), ALL)
def test_every_product_has_its_page(kind: str, product: str) -> None:
    assert (registry.INTEGRATIONS / kind / product / "README.md").read_text().startswith("# ")
