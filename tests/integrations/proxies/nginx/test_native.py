"""nginx's own checker: accepts every case, and says what is wrong with a broken one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.layout import HostLayout
from manor.estate.topology import Role, TierNode
from manor.execution.values import HostPath
from manor.integrations.proxies.nginx import product
from tests.integrations.proxies import beside, nodes, tiers
from tests.integrations.proxies.nginx.cases import CASES, PARTS
from tests.integrations.proxies.nginx.test_render import PLACES, odd_node

pytestmark = pytest.mark.native


def placed(node: TierNode, root: HostPath) -> TierNode:
    """Return the node with its folders under a root of the test."""
    return replace(node, folders=HostLayout(root, root / "s").tier(node.key), tls=nodes.tls(root) if node.tls else None)


@pytest.mark.parametrize("name", sorted(CASES))
async def test_cases_are_accepted(name: str, root: HostPath) -> None:
    assert await tiers.check(placed(CASES[name], root)) == ()


async def test_a_broken_file_is_refused_in_its_words(root: HostPath) -> None:
    service = nodes.service(extra={"nginx": {"server": b"prox_pass nowhere;\n"}})
    node = nodes.node("nginx", Role.WEB, 1, services=[service], is_web=True, listeners=[], root=root)
    (problem,) = await tiers.check(node)
    assert problem.startswith('unknown directive "prox_pass" in ')


async def test_a_check_leaves_no_pid_file_where_the_running_one_has_its_own(root: HostPath) -> None:
    node = placed(CASES["web"], root)
    await tiers.check(node)
    assert not (Path(node.folders.run) / "nginx.pid").exists()


async def test_version() -> None:
    assert product.parse_version(await tiers.runner().run(product.version())).split(".")[0].isdigit()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["path", "to", "folder"]), st.text("ab/.:;#'\"\\$%{}()~*é-_ ", min_size=1, max_size=16))
async def test_odd_texts_are_accepted_or_refused_by_us(root: HostPath, place: str, text: str) -> None:
    try:
        node = odd_node(**(PLACES | {place: f"/{text}"}))
        problems = await tiers.check(placed(node, root))
    except InvalidEstate:
        return
    assert problems == ()


MAIN = """\
pid /nowhere/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    include extra.types;
    include conf.d/*.conf;
}}
"""
LEGACY = "server { listen 127.202.0.9:8180; server_name legacy.example; }\n"


@pytest.mark.parametrize("name", sorted(PARTS))
async def test_parts_are_accepted_among_theirs(name: str, root: HostPath, sockets: HostPath, tmp_path: Path) -> None:
    theirs = HostPath(tmp_path / "theirs")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "extra.types").write_text("types { text/x-extra extra; }\n")
    node = beside.placed(PARTS[name], root, sockets, theirs)
    assert await beside.judged(node, theirs, MAIN.format(folder=tmp_path), {"legacy.conf": LEGACY}) == ()


async def test_a_part_is_refused_whose_names_they_have(root: HostPath, sockets: HostPath, tmp_path: Path) -> None:
    theirs = HostPath(tmp_path / "theirs")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "extra.types").write_text("types {}\n")
    node = beside.placed(PARTS["beside_theirs"], root, sockets, theirs)
    (problem,) = await beside.judged(node, theirs, MAIN.format(folder=tmp_path), {"legacy.conf": "log_format manor.prod.log x;\n"})
    assert "manor.prod.log" in problem
