"""HAProxy's own checker: accepts every case, and says what is wrong with a broken one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.layout import HostLayout
from manor.estate.topology import Role, TierNode
from manor.execution.values import Command, HostPath
from manor.integrations.proxies.haproxy import product
from tests.integrations.proxies import beside, nodes, tiers
from tests.integrations.proxies.haproxy.cases import CASES, PARTS, PASTED
from tests.integrations.proxies.haproxy.test_render import PLACES, odd_node

pytestmark = pytest.mark.native


def placed(node: TierNode, root: HostPath, sockets: HostPath) -> TierNode:
    """Return the node with its folders under a root of the test, and its sockets where their names stay short."""
    return replace(node, folders=HostLayout(root, sockets).tier(node.key), tls=nodes.tls(root) if node.tls else None)


@pytest.mark.parametrize("name", sorted(CASES))
async def test_cases_are_accepted(name: str, root: HostPath, sockets: HostPath) -> None:
    assert await tiers.check(placed(CASES[name], root, sockets)) == ()


async def test_a_broken_file_is_refused_in_its_words(root: HostPath) -> None:
    service = nodes.service(extra={"haproxy": {"backend": b"balance sometimes\n"}})
    node = nodes.node("haproxy", Role.BALANCER, 1, services=[service], is_switching=True, root=root)
    problems = await tiers.check(node)
    assert "balance only supports roundrobin" in problems[0].replace("'", "")


async def test_a_check_leaves_nothing_in_the_run_folders(root: HostPath, sockets: HostPath) -> None:
    node = placed(CASES["switching"], root, sockets)
    await tiers.check(node)
    assert [*Path(node.folders.run).iterdir(), *Path(node.folders.sockets).iterdir(), *Path(node.folders.log).iterdir()] == []


async def test_version() -> None:
    assert product.parse_version(await tiers.runner().run(product.version())).split(".")[0].isdigit()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["host", "path", "to", "health"]), st.text("ab/.:;#'\"\\$%{}()!é-_ ", min_size=1, max_size=16))
async def test_odd_texts_are_accepted_or_refused_by_us(root: HostPath, sockets: HostPath, place: str, text: str) -> None:
    try:
        node = odd_node(**(PLACES | {place: f"/{text}" if place != "host" else text}))
        problems = await tiers.check(placed(node, root, sockets))
    except InvalidEstate:
        return
    assert problems == ()


MAIN = """\
global
  stats socket {folder}/admin.sock level admin
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
"""
LEGACY = "listen legacy\n  bind 127.202.0.9:8100\n  server one 127.0.0.1:9\n"


@pytest.mark.parametrize("name", sorted(PARTS))
async def test_parts_are_accepted_among_theirs(name: str, root: HostPath, sockets: HostPath, tmp_path: Path) -> None:
    theirs = HostPath(tmp_path / "theirs")
    node = beside.placed(PARTS[name], root, sockets, theirs)
    assert await beside.judged(node, theirs, MAIN.format(folder=sockets), {"legacy.cfg": LEGACY}) == ()


async def test_a_part_is_refused_whose_names_they_have(root: HostPath, sockets: HostPath, tmp_path: Path) -> None:
    theirs = HostPath(tmp_path / "theirs")
    node = beside.placed(PARTS["beside_theirs"], root, sockets, theirs)
    problems = await beside.judged(node, theirs, MAIN.format(folder=sockets), {"legacy.cfg": "frontend manor.prod._front\n"})
    assert any("manor.prod._front" in problem for problem in problems)


async def test_theirs_is_refused_without_what_it_names_of_ours(root: HostPath, sockets: HostPath, tmp_path: Path) -> None:
    theirs = HostPath(tmp_path / "theirs")
    node = beside.placed(PARTS["beside_theirs"], root, sockets, theirs)
    legacy = LEGACY.replace("  server one", "  mode http\n  use_backend manor.prod.shop\n  server one")
    assert await beside.judged(node, theirs, MAIN.format(folder=sockets), {"legacy.cfg": legacy}) == ()
    problems = await beside.judged(node, theirs, MAIN.format(folder=sockets), {"legacy.cfg": legacy}, with_ours=False)
    assert any("manor.prod.shop" in problem for problem in problems)


async def test_what_is_pasted_is_accepted_with_the_routes_of_its_comments(sockets: HostPath, tmp_path: Path) -> None:
    (file,) = product.render(PASTED["pasted"])
    routes = [line.removeprefix("#").strip() for line in file.content.decode().splitlines() if line.startswith("#   use_backend")]
    front = "\n  ".join(["frontend theirs", "mode http", "bind 127.202.0.9:8100", *routes])
    whole = tmp_path / "haproxy.cfg"
    whole.write_text(f"{MAIN.format(folder=sockets)}{front}\n{file.content.decode()}")
    completed = await tiers.runner().run(Command(("haproxy", "-c", "-f", str(whole)), ok_codes=frozenset({0, 1})))
    assert product.parse_check(completed) == ()
    assert len(routes) == 7
