"""nginx's files: as kept in the cases, and of the same shape whatever text goes in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.model import Redirect, Static
from manor.estate.topology import Role, TierNode, TrafficState
from manor.execution.values import MakeFolder, PutFile
from manor.integrations.proxies.nginx import product
from manor.integrations.proxies.nginx.quoting import word
from tests.integrations.proxies import nodes
from tests.integrations.proxies.golden import assert_golden
from tests.integrations.proxies.nginx.cases import CASES, PARTS, alone, shop
from tests.integrations.proxies.nginx.reading import Token, shape, tokens

HERE = Path(__file__).parent
PLACES = {"name": "plain", "host": "h", "path": "/p", "to": "/to", "folder": "f"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize("name", sorted(CASES | PARTS))
def test_cases(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(request, HERE / "cases" / name, {file.name: file.content for file in product.render((CASES | PARTS)[name])})


def test_a_flag_is_set_before_another_is_removed() -> None:
    acts = product.switch_files(alone(), shop(), nodes.traffic(shop(), "b", TrafficState.DRAIN))
    said = [(type(act).__name__, act.path.name) for act in acts if not isinstance(act, MakeFolder)]
    assert said == [("PutFile", "a.drain"), ("PutFile", "b.ready"), ("Remove", "a.ready"), ("Remove", "b.drain")]
    assert all(act.content == b"" for act in acts if isinstance(act, PutFile))


def test_an_unknown_idle_limit_means_a_connection_a_request() -> None:
    text = next(file.content.decode() for file in product.render(CASES["web"]) if file.name == "nginx.conf")
    crm = text[text.index("upstream crm.program.a") :].partition("}")[0]
    assert "keepalive" not in crm
    assert "keepalive_timeout 1000ms;" in text[text.index("upstream shop.program.a") :].partition("}")[0]


@given(TEXT)
def test_a_word_is_one_word(text: str) -> None:
    try:
        quoted = word(text)
    except InvalidEstate:
        assert re.search(r"[\x00-\x1f\x7f]", text)
        return
    assert tokens(quoted + ";") == [Token(text), Token(";", is_mark=True)]


@given(st.sampled_from(sorted(PLACES)), st.text("ab/.:;#'\"\\$%{}()~*\n\té-_ ", max_size=20))
def test_no_text_breaks_out(place: str, text: str) -> None:
    if place == "path" and not text.strip("/"):
        return
    try:
        got = shape(text_of(**(PLACES | {place: text})))
    except InvalidEstate:
        return
    assert sorted(got) == sorted(shape(text_of(**PLACES)))


def text_of(**texts: str) -> str:
    """Return a configuration made with these texts."""
    return next(file.content.decode() for file in product.render(odd_node(**texts)) if file.name == "nginx.conf")


def odd_node(name: str, host: str, path: str, to: str, folder: str) -> TierNode:
    """Return a tier with these texts, past everything that would have refused them when the estate was read."""
    view = nodes.service("plain", routes=[nodes.route(host, path=path)], static=[Static.model_construct(path="/s", dir=folder)])
    odd = replace(view, name=name, redirects=(Redirect.model_construct(from_="old.example/r", to=to, status=308),))
    return nodes.node("nginx", Role.WEB, 0, services=[odd], is_first=True, is_switching=True, is_web=True)
