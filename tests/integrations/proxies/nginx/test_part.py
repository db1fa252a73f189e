"""An nginx that somebody else runs: what stands in the way, and how both are judged together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.execution.values import Completed, HostPath, PutFile, PutLink
from manor.integrations.proxies.nginx import product
from manor.integrations.proxies.nginx.part import NginxPart
from manor.integrations.proxies.parts import Found
from tests.integrations.proxies.nginx.cases import beside

PART = NginxPart()
MAIN = """\
user www;
pid /run/nginx.pid;  # not pid /x;
http {
    # include /srv/theirs/conf.d/*.conf;
    include mime.types;
    include "/srv/theirs/conf.d/*.conf"; include /srv/theirs/sites/*;
}
"""
THEIRS = Found(MAIN.encode(), ("conf.d", "mime.types", "nginx.conf"), ("legacy.conf", "manor-acme-prod.conf"))


@pytest.mark.parametrize(
    ("include", "is_ours"),
    [
        ("include /srv/theirs/conf.d/*.conf;", True),
        ("include conf.d/*;", True),
        ("include 'conf.d/manor-*.conf' ;", True),
        ("http { include ./conf.d/*.conf; }", True),
        ("# include /srv/theirs/conf.d/*.conf;", False),
        ("include /srv/theirs/conf.d/*.inc;", False),
        ("include /srv/theirs/sites/*.conf;", False),
        ("xinclude conf.d/*.conf;", False),
    ],
)
def test_their_main_file_has_to_include_ours(include: str, is_ours: bool) -> None:
    problems = PART.obstacles(beside(), replace(THEIRS, main=include.encode()))
    told = "/srv/theirs/nginx.conf does not include /srv/theirs/conf.d/manor-acme-prod.conf; add `include /srv/theirs/conf.d/*.conf;` to its `http`"
    assert problems == (() if is_ours else (told,))


def test_a_copy_is_judged_whose_includes_lead_to_theirs_and_to_ours() -> None:
    judging = PART.judge(beside(), THEIRS, HostPath("/check"), b"ours")
    links = {str(act.path): str(act.target) for act in judging.acts if isinstance(act, PutLink)}
    files = {str(act.path): act.content.decode() for act in judging.acts if isinstance(act, PutFile)}
    assert links == {
        "/check/main/conf.d": "/srv/theirs/conf.d",
        "/check/main/mime.types": "/srv/theirs/mime.types",
        "/check/into/legacy.conf": "/srv/theirs/conf.d/legacy.conf",
    }
    assert files["/check/into/manor-acme-prod.conf"] == "ours"
    lines = files["/check/main/nginx.conf"].splitlines()
    assert lines[1] == "pid /check/check.pid;  # not pid /x;"
    assert lines[3] == "    # include /srv/theirs/conf.d/*.conf;"
    assert lines[5] == '    include "/check/into/*.conf"; include /srv/theirs/sites/*;'
    assert judging.command.argv == ("nginx", "-e", "stderr", "-c", "/check/main/nginx.conf", "-t", "-q")


def test_what_they_did_not_say_is_said_on_the_command_line() -> None:
    node = replace(beside(), options={"prefix": "/srv/theirs"})
    judging = PART.judge(node, replace(THEIRS, main=b"events {}"), HostPath("/check"), None)
    assert judging.command.argv[3:5] == ("-p", "/srv/theirs/")
    assert judging.command.argv[7:9] == ("-g", "pid /check/check.pid;")
    assert not any("manor-acme-prod" in str(act.path) for act in judging.acts)


def test_nothing_of_ours_holds_for_servers_of_theirs() -> None:
    (config,) = [file.content.decode() for file in product.render(beside()) if file.name.endswith(".conf")]
    outside = {line.split()[0] for line in config.splitlines() if line and not line.startswith((" ", "#", "}"))}
    assert outside == {"geo", "map", "log_format", "upstream", "server"}
    named = [line.split()[1] for line in config.splitlines() if line.startswith(("log_format", "upstream"))]
    assert all(name.startswith("manor.prod.") for name in named)


def test_ours_is_gone_when_the_admin_listener_is() -> None:
    assert PART.is_loaded(beside(), Completed(200, b"abc"))
    assert not PART.is_loaded(beside(), Completed(404, b""))
    assert not PART.is_loaded(beside(), None)
