"""Finds the products by their folders; there is no central list.

Invariant: injects nothing and imports a product only when it is asked for by name.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from manor.errors import UsageError

INTEGRATIONS = Path(__file__).parent / "integrations"


@cache
def kinds() -> tuple[str, ...]:
    """Return the kinds of products, e.g. `proxies`, sorted."""
    return tuple(sorted(path.parent.name for path in INTEGRATIONS.glob("*/base.py")))


@cache
def products(kind: str) -> tuple[str, ...]:
    """Return the names of the products of a kind, sorted."""
    return tuple(sorted(path.parent.name for path in (INTEGRATIONS / kind).glob("*/__init__.py")))


@cache
def product(kind: str, name: str) -> Any:
    """Return the product: the object `product` of its folder's package.

    Callers give it its type by annotating with the contract, e.g. `proxy: Proxy = product("proxies", name)`.
    Raises UsageError if there is no such product.
    """
    if name not in products(kind):
        raise UsageError(f"there is no {name!r} among the {kind}; there are: {', '.join(products(kind))}")
    return importlib.import_module(f"manor.integrations.{kind}.{name}").product


@cache
def default_product(kind: str) -> str:
    """Return the name of the product that is used where none is named: the one that says `is_default`.

    Raises UsageError if there is none.
    """
    for name in products(kind):
        if getattr(product(kind, name), "is_default", False):
            return name
    raise UsageError(f"none of the {kind} is the default; name one")
