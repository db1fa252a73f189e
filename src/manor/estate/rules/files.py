"""Files and products that a service names must be there, and files in the estate's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
                if not is_inside(context.folder, file):
                    yield Finding((*path, place), f"{file} leads out of the estate's folder; what an estate is made of lies in it: copy the file there")
                elif not (context.folder / file).is_file():
                    yield Finding((*path, place), f"there is no file {file} in the estate's folder; add it, or remove this")


def is_inside(folder: Path, file: str) -> bool:
    """Tell whether a path, links followed, stays in the folder: only then it can be kept together with the estate."""
    return (folder / file).resolve().is_relative_to(folder.resolve())
