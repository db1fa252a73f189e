"""Files and products that a service names must be there."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.model import Environment
from manor.estate.problems import Finding, suggestion
from manor.estate.rules.context import Context


def check_files(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield `extra` of unknown products, and `extra` files that are not in the estate's folder."""
    for name, service in environment.services.items():
        for product, places in service.extra.items():
            path = ("services", name, "extra", product)
            if product not in context.products:
                yield Finding(path, f"there is no product {product!r}; {suggestion(product, context.products)}")
            for place, file in places.items():
                if not (context.folder / file).is_file():
                    yield Finding((*path, place), f"there is no file {file} in the estate's folder; add it, or remove this")
