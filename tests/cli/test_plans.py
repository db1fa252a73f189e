"""A plan as people read it: what it comes to first, and files by their place on the host."""

from __future__ import annotations

from dataclasses import replace

from click import unstyle

from manor.cli.terminal.plans import plan_lines
from manor.reconcile.plan import Action, Change, Plan

ROOTS = {"web-1": "/srv/prod/web-1", "web-2": "/srv/prod/web-2"}
WRITE = Change("web-1", "tier/1-web-nginx", Action.CREATE, "/srv/prod/web-1/etc/1-web-nginx/nginx.conf", diff="+listen 80;")
BESIDE = Change("web-2", "tier/1-web-nginx", Action.CREATE, "/etc/nginx/conf.d/manor.conf")
STOP = Change("web-2", "host", Action.STOP, "shop-a", is_destructive=True)
PLAN = Plan("prod", "d", (WRITE, BESIDE), hash="4a3a6c548d28" + "0" * 52, roots=ROOTS)


def lines(plan: Plan, *, with_diff: bool = False) -> list[str]:
    """Return a plan's lines without colours."""
    return [unstyle(line) for line in plan_lines(plan, with_diff=with_diff)]


def test_it_begins_with_what_it_comes_to() -> None:
    assert lines(PLAN) == [
        "prod: 2 changes on 2 hosts, none destructive",
        "  prod/web-1         create   etc/1-web-nginx/nginx.conf",
        "  prod/web-2         create   /etc/nginx/conf.d/manor.conf",
        "prod: carry out just this with `manor apply -e prod --plan 4a3a6c548d28`",
    ]


def test_what_is_destructive_is_counted() -> None:
    shown = lines(replace(PLAN, changes=(STOP,)))
    assert shown[:2] == ["prod: 1 change on 1 host, 1 of them destructive", "  prod/web-2         stop     shop-a  (destructive)"]


def test_without_known_roots_paths_are_whole() -> None:
    assert "  prod/web-1         create   /srv/prod/web-1/etc/1-web-nginx/nginx.conf" in lines(replace(PLAN, roots={}))


def test_a_diff_stands_below_its_file() -> None:
    assert lines(PLAN, with_diff=True)[2] == "      +listen 80;"


def test_nothing_to_do_is_one_line() -> None:
    assert lines(replace(PLAN, changes=())) == ["prod: nothing to do; all is as declared (plan 4a3a6c548d28)"]
