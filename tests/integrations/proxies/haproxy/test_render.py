"""HAProxy's files: as kept in the cases, and of the same shape whatever text goes in."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.model import Redirect
from manor.estate.topology import Role, TierNode, TrafficState
from manor.execution.values import PutFile, SocketCommand
from manor.integrations.proxies.haproxy import product
from manor.integrations.proxies.haproxy.quoting import log_format, word
from tests.integrations.proxies import nodes
from tests.integrations.proxies.golden import assert_golden
from tests.integrations.proxies.haproxy.cases import CASES, PARTS, PASTED, crm, shop, switching

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(CASES | PARTS | PASTED))
def test_cases(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(request, HERE / "cases" / name, {file.name: file.content for file in product.render((CASES | PARTS | PASTED)[name])})


def test_state_files(request: pytest.FixtureRequest) -> None:
    traffic = nodes.traffic(shop(), "a") | {"web-1-b": TrafficState.DRAIN}
    acts = (*product.switch_files(switching(), shop(), traffic), *product.maintenance(switching(), shop(), True))
    assert_golden(request, HERE / "cases" / "state", {act.path.name: act.content for act in acts if isinstance(act, PutFile)})


def test_what_gets_traffic_is_named_before_what_loses_it() -> None:
    (act,) = product.switch(switching(), shop(), nodes.traffic(shop(), "b", TrafficState.DRAIN))
    assert isinstance(act, SocketCommand)
    assert act.line.split("; ") == [
        "set server shop/web-1-b weight 100",
        "set server shop/web-1-b state ready",
        "set server shop/web-2-b weight 100",
        "set server shop/web-2-b state ready",
        "set server shop/web-1-a state drain",
        "set server shop/web-2-a state drain",
    ]


def test_a_check_of_the_port_goes_to_the_program() -> None:
    text = next(file.content.decode() for file in product.render(switching()) if file.name == "haproxy.cfg")
    assert "server web-1-b 127.202.0.11:18201 id 2 check port 8201 disabled" in text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"balance": "static-rr"}, "tier/2-balancer-haproxy: options.balance: Input should be 'leastconn' or 'roundrobin'"),
        ({"thread": 2}, "tier/2-balancer-haproxy: options.thread: Extra inputs are not permitted"),
        ({"purge_delay": "1 s"}, "tier/2-balancer-haproxy: options.purge_delay: Value error, '1 s' is not a duration"),
    ],
)
def test_options_that_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidEstate, match=re.escape(problem)):
        product.render(nodes.node("haproxy", Role.BALANCER, 2, services=[crm()], is_switching=True, options=options))


PLACES = {"name": "plain", "host": "h", "path": "/p", "to": "/to", "health": "/health"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@given(TEXT)
def test_a_word_is_one_word(text: str) -> None:
    try:
        quoted = word(text)
    except InvalidEstate:
        assert re.search(r"[\x00-\x1f\x7f]", text)
        return
    # HAProxy's strong quotes are a POSIX shell's; `shlex` is the independent reader.
    assert shlex.split(quoted) == [text]
    assert "%" not in shlex.split(log_format(text))[0].replace("%%", "")


@given(st.sampled_from(sorted(PLACES)), st.text("ab /.:;#'\"\\$%{}()!\n\té-_", max_size=20))
def test_no_text_breaks_out(place: str, text: str) -> None:
    try:
        got = lines_of(**(PLACES | {place: text}))
    except InvalidEstate:
        return
    name = text if place == "name" else PLACES["name"]
    assert [first_word(line) for line in got] == [first_word(line) for line in lines_of(**PLACES)]
    assert [line for line in got if line.startswith("backend")] == [f"backend {name}", f"backend {name}.maintenance"]


def first_word(line: str) -> str:
    """Return the keyword of a line."""
    return line.split()[0]


def lines_of(**texts: str) -> list[str]:
    """Return the lines of a configuration made with these texts."""
    text = next(file.content.decode() for file in product.render(odd_node(**texts)) if file.name == "haproxy.cfg")
    return [line.strip() for line in text.split("\n") if line.strip()]


def odd_node(name: str, host: str, path: str, to: str, health: str) -> TierNode:
    """Return a tier with these texts, past everything that would have refused them when the estate was read."""
    view = nodes.service("plain", routes=[nodes.route(host, path=path)])
    redirect = Redirect.model_construct(from_="old.example/r", to=to, status=308)
    odd = replace(view, name=name, redirects=(redirect,), health=view.health.model_copy(update={"http": health}))
    return nodes.node("haproxy", Role.BALANCER, 0, services=[odd], is_first=True, is_switching=True)
