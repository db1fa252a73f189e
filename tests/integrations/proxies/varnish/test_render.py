"""Varnish's files: as kept in the cases, and quoted whatever the text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.model import Bypass, Cache
from manor.integrations.proxies.varnish import native, product
from manor.integrations.proxies.varnish.vcl import cookie_conditions
from tests.integrations.proxies import nodes
from tests.integrations.proxies.golden import assert_golden
from tests.integrations.proxies.varnish.cases import CASES, tier

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(CASES))
def test_cases(name: str, request: pytest.FixtureRequest) -> None:
    files = product.render(CASES[name])
    assert [file.name for file in files] == sorted(file.name for file in files)
    assert_golden(request, HERE / "cases" / name, {file.name: file.content for file in files if file.name != "reload.sh"})


@pytest.mark.parametrize(
    ("declared", "conditions"),
    [(None, ["req.http.Cookie"]), ((), []), (("b", "a.b"), [r'req.http.Cookie ~ "(?:^|;)[ \t]*a\x2eb[ \t]*="', r'req.http.Cookie ~ "(?:^|;)[ \t]*b[ \t]*="'])],
)
def test_cookies_that_keep_a_request_out(declared: tuple[str, ...] | None, conditions: list[str]) -> None:
    assert cookie_conditions(declared) == conditions


@given(st.text(min_size=1), st.text())
def test_a_regular_expression_matches_its_own_text_alone(text: str, other: str) -> None:
    pattern = native.regex(text)
    assert re.fullmatch(r"[\\A-Za-z0-9_/~-]*", pattern)
    assert re.fullmatch(pattern.encode(), text.encode())
    assert other == text or not re.fullmatch(pattern.encode(), other.encode())


@given(st.text())
def test_strings_hold_no_quote_and_no_line_end(text: str) -> None:
    try:
        written = native.string(text)
    except ValueError:
        return
    assert written == f'"{text}"'
    assert not set(text) & set('"\n\r\0')


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_different_names_are_different_identifiers(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]+", native.identifier(one))
    assert (native.identifier(one) == native.identifier(other)) == (one == other)


def structure(vcl: str) -> str:
    """Return the VCL without what is inside strings."""
    return re.sub(r'"[^"\n]*"', '""', vcl)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_no_text_of_the_estate_changes_the_structure(path: str, cookie: str) -> None:
    def rendered(one: str, two: str) -> str:
        cache = Cache.model_construct(ttl=1.0, grace=0.0, bypass=Bypass.model_construct(paths=("/" + one,), cookies=(two,)))
        return structure(product.render(tier(services=[nodes.service(cache=cache)]))[0].content.decode())

    assert rendered(path, cookie) == rendered("plain", "plain")


@pytest.mark.parametrize(
    ("url", "is_under"),
    [("/media", True), ("/media/", True), ("/media/x", True), ("/media?x", True), ("/mediax", False), ("/medi", False), ("/x/media", False)],
)
def test_whole_segments(url: str, is_under: bool) -> None:
    assert bool(re.search(native.under("/media"), url)) == is_under


def test_refused() -> None:
    with pytest.raises(InvalidEstate, match="put a balancer after it"):
        product.render(replace(tier(), next=()))
    with pytest.raises(InvalidEstate, match=r"extra\.varnish\.server: no such place; there are: recv, backend_response, deliver"):
        product.render(tier(services=[nodes.service(extra={"varnish": {"server": b""}})]))
    with pytest.raises(InvalidEstate, match=r"options\.storage: Value error, '1G' is not a size"):
        product.render(tier(options={"storage": "1G"}))


def test_idle_time_outs_are_the_models() -> None:
    parameters = next(file.content.decode() for file in product.render(tier()) if file.name == "start.cli")
    assert "param.set timeout_idle 30.000\n" in parameters
    assert "param.set backend_idle_timeout 20.000\n" in parameters


def test_the_ring_of_the_log_is_as_large_as_varnish_s_own() -> None:
    """A smaller one is overrun before varnishncsa has read it: https://varnish-cache.org/docs/7.1/reference/varnishd.html#vsl-space."""
    cache, _log = product.programs(tier())
    assert cache.argv[cache.argv.index("-l") + 1] == str(80 * 1024**2)
