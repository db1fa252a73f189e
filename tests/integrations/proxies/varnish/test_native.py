"""Varnish itself on our files: accepts every case, refuses broken ones in its own words, behaves as docs/traffic.md says."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from manor.estate.model import Bypass, Cache
from manor.estate.topology import TierNode
from manor.execution.values import HostPath
from manor.integrations.proxies.varnish import product
from tests.integrations.proxies import live, nodes
from tests.integrations.proxies.varnish.cases import CASES, tier

pytestmark = pytest.mark.native
HERE = Path(__file__).parent
NASTY = ('"', "\\", "{", "}", '"}', "*/", "\n", "C{", "}C", "#", "$", "(", "[", "ü", "\x00", " ", "%", '" + now + "', "a")


def prepared(node: TierNode, root: Path) -> TierNode:
    """Return the tier in a folder of the test's own, its files written."""
    moved = replace(node, folders=nodes.node("varnish", node.role, 1, root=HostPath(root)).folders)
    live.write_files(Path(moved.folders.etc), product.render(moved))
    return moved


async def problems(node: TierNode) -> tuple[str, ...]:
    """Return what the check says."""
    return product.parse_check(await live.runner_for(node).run(product.check(node)))


@pytest.mark.parametrize("name", sorted(CASES))
async def test_accepts(name: str, tmp_path: Path) -> None:
    assert await problems(prepared(CASES[name], tmp_path)) == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return (hash);", "return (hush);", "Expected return action"),
        ("std.tolower", "std.toolower", "Symbol not found: 'std.toolower'"),
        ("return (lookup);", "return (lookup)", "Expected ';'"),
        (".port =", ".prt =", "Unknown field"),
        ("(?:crm|other|shop)", "(?:crm|other|shop", "Regexp compilation error"),
    ],
)
async def test_refuses(old: str, new: str, words: str, tmp_path: Path) -> None:
    node = prepared(tier(), tmp_path)
    file = live.files_under(node.folders.etc)["default.vcl"]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert words in "\n".join(await problems(node))


async def test_nothing_breaks_out(tmp_path: Path) -> None:
    choose = random.Random(7)
    for _ in range(6):
        texts = ["".join(choose.choice(NASTY) for _ in range(8)) for _ in range(2)]
        cache = Cache.model_construct(ttl=1.0, grace=0.0, bypass=Bypass.model_construct(paths=("/" + texts[0],), cookies=(texts[1],)))
        assert await problems(prepared(tier(services=[nodes.service(cache=cache)]), tmp_path)) == (), texts


@pytest.mark.parametrize("name", sorted(path.stem for path in (HERE / "behaviour").glob("*.vtc")))
def test_behaviour(name: str, tmp_path: Path) -> None:
    address = live.fresh_address()
    node = tier(address=address, root=HostPath(tmp_path))
    live.prepare(node, product)
    vcl = node.folders.etc / "default.vcl"
    command = ["varnishtest", "-t", "20", f"-Daddress={address}", f"-Dvcl={vcl}", str(HERE / "behaviour" / f"{name}.vtc")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, env={"PATH": live.with_path(), "TMPDIR": "/tmp"})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


async def test_says_its_version(tmp_path: Path) -> None:
    completed = await live.runner_for(tier()).run(product.version())
    assert product.parse_version(completed).startswith("7.")
