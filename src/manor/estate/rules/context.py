"""What rules are given beside the environment that they check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manor.estate.chain import Products
from manor.estate.environments import Declared


@dataclass(frozen=True)
class Context:
    """Facts from outside one environment."""

    domain: str
    declared: Declared
    products: Products
    folder: Path
    """The estate's folder: where files that it names lie, and `.manor` beside."""
