"""Files, products and places that a service's `extra` names must be there; the files text, and in the estate's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manor.estate.model import Environment
from manor.estate.problems import Finding, suggestion
from manor.estate.rules.context import Context


def check_files(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield `extra` of unknown products and places, and `extra` files that are not text in the estate's folder."""
    for name, service in environment.services.items():
        for product, places in service.extra.items():
            path = ("services", name, "extra", product)
            if product not in context.products:
                yield Finding(path, f"there is no product {product!r}; {suggestion(product, context.products)}")
            else:
                yield from (finding.below(*path) for finding in _check_places(product, places, context.products[product].extra_places))
            for place, file in places.items():
                wrong = wrong_with(context.folder, file)
                if wrong:
                    yield Finding((*path, place), wrong)


def _check_places(product: str, places: dict[str, str], known: frozenset[str]) -> Iterator[Finding]:
    if places and not known:
        yield Finding((), f"{product} has no place for verbatim text, which could not be bounded to one service there; remove this")
        return
    for place in places:
        if place not in known:
            yield Finding((place,), f"{product} has no place {place!r} for verbatim text; {suggestion(place, known)}")


def wrong_with(folder: Path, file: str) -> str:
    """Return what is wrong with a file that is to be taken in verbatim; empty if nothing is."""
    if not is_inside(folder, file):
        return f"{file} leads out of the estate's folder; what an estate is made of lies in it: copy the file there"
    if not (folder / file).is_file():
        return f"there is no file {file} in the estate's folder; add it, or remove this"
    try:
        text = (folder / file).read_bytes().decode()
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}; let Manor read it"
    except UnicodeDecodeError as error:
        return f"{file} is not UTF-8 at byte {error.start}; save it in that encoding"
    return f"{file} holds a NUL byte, which no configuration can; remove it" if "\0" in text else ""


def is_inside(folder: Path, file: str) -> bool:
    """Tell whether a path, links followed, stays in the folder: only then it can be kept together with the estate."""
    return (folder / file).resolve().is_relative_to(folder.resolve())
