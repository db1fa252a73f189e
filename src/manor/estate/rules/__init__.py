"""The rules that parts of an estate keep among each other; each rule is a pure function from an environment to findings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manor.estate.chain import Products
from manor.estate.environments import Declared
from manor.estate.model import Environment
from manor.estate.problems import Problem


def check_environments(
    domain: str, environments: Mapping[str, Environment], declared: Mapping[str, Declared], products: Products, folder: Path
) -> list[Problem]:
    """Return what is wrong among the parts of each environment."""
    return []
