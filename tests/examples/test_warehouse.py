"""The warehouse's requirements are those of the lock that the wheelhouse is filled from, with the same hashes."""

from __future__ import annotations

import re

import pytest

from tests.architecture.sources import ROOT

PINNED = re.compile(r"^(?P<pin>[a-z0-9_.-]+==\S+)[^\\\n]*\\\n(?P<hashes>(?:    --hash=\S+[^\n]*\n?)+)", re.MULTILINE)
WAREHOUSE = ROOT / "examples" / "acme-health" / "warehouse"


def pins(text: str) -> dict[str, frozenset[str]]:
    return {match["pin"]: frozenset(re.findall(r"sha256:[0-9a-f]{64}", match["hashes"])) for match in PINNED.finditer(text)}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_requirements_are_a_part_of_the_lock(name: str) -> None:
    locked = pins((ROOT / "locks" / "demo.lock").read_text())
    wanted = pins((WAREHOUSE / name).read_text())
    assert len(wanted) > 10
    assert {pin: hashes for pin, hashes in wanted.items() if locked.get(pin) != hashes} == {}
