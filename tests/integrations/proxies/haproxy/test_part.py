"""A HAProxy that somebody else runs: what stands in the way, how both are judged together, and what its socket shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from manor.estate.topology import TrafficState
from manor.execution.values import Completed, HostPath, PutFile, SocketCommand
from manor.integrations.proxies.haproxy import product
from manor.integrations.proxies.haproxy.part import HAProxyPart
from manor.integrations.proxies.haproxy.render import digest_of
from manor.integrations.proxies.haproxy.state import HEADER
from manor.integrations.proxies.parts import Found
from tests.integrations.proxies import nodes
from tests.integrations.proxies.haproxy.cases import beside, pasted, shop

PART = HAProxyPart()
Row = tuple[str, str, str, int]
THEIRS = Found(b"global\n", ("haproxy.conf",), ("20-api.cfg", "README", ".hidden.cfg", "zz-manor-acme-prod.cfg", "zz-manor-acme-stage.cfg"))
STARTED = ("haproxy", "-sf", "12", "-W", "-f", "/srv/theirs/haproxy.conf", "-f", "/srv/theirs/conf.d/")


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (THEIRS, ""),
        (replace(THEIRS, argv=STARTED), ""),
        (replace(THEIRS, argv=("haproxy", "-f", "haproxy.conf")), ""),
        (replace(THEIRS, argv=("haproxy", "--", "/srv/theirs/haproxy.conf", "/srv/theirs/conf.d")), ""),
        (replace(THEIRS, into=("zzz.cfg",)), "/srv/theirs/conf.d/zzz.cfg is read after Manor's file and would take its defaults; give it a name before zz"),
        (replace(THEIRS, argv=STARTED[:-2]), "the running haproxy was not started with `-f /srv/theirs/conf.d`"),
    ],
)
def test_obstacles(found: Found, problem: str) -> None:
    assert "; ".join(PART.obstacles(beside(), found)).startswith(problem)
    assert bool(PART.obstacles(beside(), found)) == bool(problem)


def test_all_files_are_judged_in_the_order_in_which_they_are_read() -> None:
    judging = PART.judge(beside(), THEIRS, HostPath("/check"), b"ours")
    main, *rest = [word for word in judging.command.argv if isinstance(word, str) and word.startswith("/")]
    assert main == "/srv/theirs/haproxy.conf"
    assert rest == ["/srv/theirs/conf.d/20-api.cfg", "/srv/theirs/conf.d/zz-manor-acme-stage.cfg", "/check/zz-manor-acme-prod.cfg"]
    assert [act.path for act in judging.acts if isinstance(act, PutFile)] == [HostPath("/check/zz-manor-acme-prod.cfg")]


def test_without_ours_nothing_is_written() -> None:
    judging = PART.judge(beside(), THEIRS, HostPath("/check"), None)
    assert judging.acts == ()
    assert not any("prod" in str(word) for word in judging.command.argv)


def test_what_it_works_by_is_told_by_the_names_of_backends() -> None:
    ours = f"# name\nlegacy\nmanor.prod.shop\nmanor.prod._is.{digest_of(beside())}\n"
    assert product.parse_loaded(beside(), Completed(0, ours.encode())) is None
    assert product.parse_loaded(beside(), Completed(0, b"# name\nlegacy\nmanor.prod._is.0\n"))
    assert PART.is_loaded(beside(), Completed(0, ours.encode()))
    assert not PART.is_loaded(beside(), Completed(0, b"# name\nlegacy\nmanor.stage.shop\n"))
    assert not PART.is_loaded(beside(), None)


def test_every_name_of_ours_has_the_mark_of_the_environment() -> None:
    (config,) = [file.content.decode() for file in product.render(beside()) if file.name.endswith(".cfg")]
    sections = [line.split() for line in config.splitlines() if line and not line.startswith((" ", "#"))]
    assert all(words[1].startswith("manor.prod.") for words in sections)
    assert all(words[0] == "defaults" or words[2:] == ["from", "manor.prod._defaults"] for words in sections)


def test_over_the_socket_only_nothing_is_written() -> None:
    traffic = nodes.traffic(shop(), "a")
    assert product.switch_files(pasted(), shop(), traffic) == ()
    assert [type(act) for act in product.maintenance(pasted(), shop(), True)] == [SocketCommand]
    (act,) = product.switch(pasted(), shop(), traffic)
    assert isinstance(act, SocketCommand)
    assert act.socket == HostPath("/srv/theirs/admin.sock")
    assert "set server manor.prod.shop/web-1-a state ready" in act.line


def rows(*servers: Row) -> str:
    """Return what `show servers state` answers for (backend, server, address:port, check state)."""
    lines = [
        f"1 {backend} 1 {server} {where.split(':')[0]} 2 0 100 100 5 6 3 4 {check} 0 0 0 - {where.split(':')[1]} - 0 0 - - 0"
        for backend, server, where, check in servers
    ]
    return "\n".join(["1", HEADER, *lines, ""])


def expected() -> list[Row]:
    """Return what is to be shown."""
    views = pasted().services
    found = [(f"manor.prod.{view.name}", server.name, f"{server.address}:{server.port}", 6) for view in views for server in view.servers]
    return [*found, *((f"manor.prod.{view.name}.maintenance", "page", "127.0.0.1:1", 0) for view in views)]


def test_what_was_pasted_is_found() -> None:
    assert PART.differences(pasted(), Completed(0, rows(*expected(), ("legacy", "one", "127.0.0.1:80", 0)).encode())) == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda row: None if row[1] == "web-2-b" and "shop" in row[0] else row, "manor.prod.shop has no server web-2-b; add `server web-2-b 127.202"),
        (lambda row: None if row[0] == "manor.prod.crm" else row, "your haproxy has no backend manor.prod.crm with servers; paste what `manor render` writes"),
        (lambda row: None if row[0].endswith("crm.maintenance") else row, "your haproxy has no backend manor.prod.crm.maintenance with its server; paste"),
        (lambda row: (*row[:2], "10.0.0.1:80", 6) if row[1] == "web-1-a" and "crm" in row[0] else row, "manor.prod.crm/web-1-a is 10.0.0.1:80, and has to be"),
        (lambda row: (*row[:3], 1) if row[1] == "web-1-a" and "crm" in row[0] else row, "manor.prod.crm/web-1-a has no `check`; without it traffic goes"),
        (lambda row: (row[0], "mine", *row[2:]) if row[1] == "web-1-a" and "crm" in row[0] else row, "manor.prod.crm has no server web-1-a; add"),
    ],
)  # fmt: skip
def test_each_difference_is_named(change: Callable[[Row], Row | None], problem: str) -> None:
    changed = [row for row in map(change, expected()) if row]
    found = PART.differences(pasted(), Completed(0, rows(*changed).encode()))
    assert found[0].startswith(problem)


def test_a_server_of_theirs_in_our_backend_is_named() -> None:
    found = PART.differences(pasted(), Completed(0, rows(*expected(), ("manor.prod.shop", "mine", "127.0.0.1:80", 6)).encode()))
    assert found == ("manor.prod.shop has a server mine that is not Manor's; take it out, it would get a share of the traffic",)


def test_state_is_read_from_our_own_files_whatever_base_theirs_has() -> None:
    (config,) = [file.content.decode() for file in product.render(beside()) if file.name.endswith(".cfg")]
    (act,) = [act for act in product.switch_files(beside(), shop(), nodes.traffic(shop(), "b", TrafficState.DRAIN)) if isinstance(act, PutFile)]
    assert f"server-state-file-name {act.path}" in config
    assert b" manor.prod.shop 1 web-1-a " in act.content
