"""Traefik itself on our files: accepts every case, refuses broken ones in its own words, beside a process that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from manor.estate.topology import TierNode
from manor.execution.values import HostPath
from manor.integrations.proxies.traefik import product
from tests.integrations.proxies import certificates, live
from tests.integrations.proxies.traefik.cases import CASES, at

pytestmark = pytest.mark.native


def prepared(name: str, root: Path) -> TierNode:
    """Return a case whose files are there, with a certificate."""
    node = at(name, live.fresh_address(), HostPath(root))
    live.prepare(node, product)
    if node.tls:
        certificates.write(node.tls, "shop.acme.example")
    return node


async def problems(node: TierNode) -> tuple[str, ...]:
    """Return what the check says."""
    completed = await live.runner_for(node).run(product.check(node))
    assert completed.seconds < 10
    return product.parse_check(completed)


@pytest.mark.parametrize("name", sorted(CASES))
async def test_accepts(name: str, tmp_path: Path) -> None:
    assert await problems(prepared(name, tmp_path)) == ()


def changed(name: str, old: str, new: str) -> Callable[[Mapping[str, Path]], None]:
    """Return a change of one file."""

    def change(files: Mapping[str, Path]) -> None:
        text = files[name].read_text()
        assert old in text
        files[name].write_text(text.replace(old, new, 1))

    return change


BROKEN = {
    "rule": (changed("dynamic.yaml", 'Host("crm', 'Hots("crm'), "unsupported function: Hots"),
    "yaml": (changed("dynamic.yaml", "http:", "http: ["), "did not find expected"),
    "key": (changed("dynamic.yaml", "  routers:", "  rooters:"), "field not found, node: rooters"),
    "service": (changed("dynamic.yaml", "service: manor.next.60\n", "service: nobody\n"), "nobody"),
    "middleware": (changed("dynamic.yaml", "- crm.stamp", "- crm.stomp"), "crm.stomp"),
    "static": (changed("traefik.yaml", "sendAnonymousUsage", "sendAnonymousUsages"), "field not found, node: sendAnonymousUsages"),
    "plugin": (changed("pages.go", "func New(", "func Nwe("), "New"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
async def test_refuses(name: str, tmp_path: Path) -> None:
    node = prepared("first_with_backup", tmp_path)
    change, words = BROKEN[name]
    change(live.files_under(node.folders.etc))
    found = await problems(node)
    assert words in "\n".join(found)
    assert len(found) < 8


async def test_refuses_a_missing_certificate(tmp_path: Path) -> None:
    node = prepared("first_with_backup", tmp_path)
    assert node.tls is not None
    changed("estate.key", "PRIVATE KEY", "NO KEY")(live.files_under(node.tls.key.parent))
    assert "tls: failed to find" in "\n".join(await problems(node))


async def test_checks_staged_files_beside_a_live_process(tmp_path: Path) -> None:
    node = prepared("switching_inner", tmp_path)
    with live.running(node, product) as tier:
        staging = HostPath(tmp_path / "staging")
        staged = replace(node, folders=node.folders.staged(staging))
        live.write_files(Path(staging), product.render(staged))
        before = sorted(live.files_under(node.folders.state))
        assert await problems(staged) == ()
        changed("dynamic.yaml", "Header(", "Haeder(")({"dynamic.yaml": Path(staging) / "dynamic.yaml"})
        assert "unsupported function: Haeder" in "\n".join(await problems(staged))
        assert await tier.observe() is None
        assert sorted(live.files_under(node.folders.state)) == before


async def test_says_its_version(tmp_path: Path) -> None:
    completed = await live.runner_for(prepared("switching_inner", tmp_path)).run(product.version())
    assert product.parse_version(completed).startswith("3.")
