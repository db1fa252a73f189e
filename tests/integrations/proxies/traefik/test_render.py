"""Traefik's files: as kept in the cases, quoted whatever the text, and refused where Traefik cannot."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import InvalidEstate
from manor.estate.model import Health
from manor.estate.topology import Role, TrafficState
from manor.execution.values import PutFile
from manor.integrations.proxies.traefik import native, parse, product
from manor.integrations.proxies.traefik.routing import route_priority, route_rule
from tests.integrations.proxies import nodes
from tests.integrations.proxies.golden import assert_golden
from tests.integrations.proxies.traefik.cases import CASES, crm, first, shop, switching

HERE = Path(__file__).parent
PACKAGED = frozenset({"check.sh", "start.sh", "pages.go"})


def loaded(content: bytes) -> object:
    """Return the YAML that Traefik sees, its template expanded."""
    return yaml.load(content.decode().replace('{{"{{"}}', "{{"), Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("name", sorted(CASES))
def test_cases(name: str, request: pytest.FixtureRequest) -> None:
    files = product.render(CASES[name])
    assert [file.name for file in files] == sorted(file.name for file in files)
    assert_golden(request, HERE / "cases" / name, {file.name: file.content for file in files if file.name not in PACKAGED})


def test_state_files(request: pytest.FixtureRequest) -> None:
    node, service = switching(), shop()
    state = dict.fromkeys((server.name for server in service.servers), TrafficState.MAINT)
    traffic = state | {"web-1-a": TrafficState.READY, "web-2-a": TrafficState.READY, "web-1-b": TrafficState.DRAIN}
    acts = (*product.switch_files(node, service, traffic), *product.maintenance(node, service, True))
    files = {act.path.name: act.content for act in acts if isinstance(act, PutFile)}
    files |= {f"first.{act.path.name}": act.content for act in product.maintenance(first(), service, True) if isinstance(act, PutFile)}
    assert_golden(request, HERE / "cases" / "state", files)


def test_a_server_that_takes_no_traffic_is_in_no_list_with_others() -> None:
    service = shop()
    traffic = nodes.traffic(service, "a", TrafficState.DRAIN)
    content = loaded(product.switch_files(switching(), service, traffic)[0].content)  # type: ignore[union-attr]
    services = content["http"]["services"]  # type: ignore[index]
    assert [one["url"] for one in services["shop.ready"]["loadBalancer"]["servers"]] == ["http://127.202.0.11:18100", "http://127.202.0.12:18100"]
    assert [one["url"] for one in services["shop.web-1-b"]["loadBalancer"]["servers"]] == ["http://127.202.0.11:18101"]
    assert "weight" not in json.dumps(content)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (replace(switching(), services=(nodes.service(health=Health(tcp=True)),)), "only checks http"),
        (replace(switching(), services=(nodes.service(health=Health(command="true")),)), "only checks http"),
        (replace(switching(), services=(nodes.service(extra={"traefik": {"router": b"x"}}),)), "no place for verbatim text"),
        (replace(switching(), request_id="from_trace"), "cannot turn a trace id"),
        (first(options={"log_levle": "INFO"}), "options.log_levle: Extra inputs"),
        (first(options={"dial_timeout": "5"}), "options.dial_timeout: Value error, '5' is not a duration"),
    ],
)
def test_refused(node: object, words: str) -> None:
    with pytest.raises(InvalidEstate, match=re.escape(words)):
        product.render(node)  # type: ignore[arg-type]


@given(st.integers(min_value=1, max_value=10**12), st.integers(min_value=0, max_value=10**13))
def test_numbers_above_a_limit(limit: int, number: int) -> None:
    assert bool(re.search(native.larger_than(limit), str(number))) == (number > limit)


@given(st.text())
def test_templates_come_out_as_they_went_in(text: str) -> None:
    # What Go's text/template does with the only action that can occur.
    assert re.sub(r'\{\{"\{\{"\}\}', "{{", native.escaped(text)) == text
    assert "{{" not in native.escaped(text).replace('{{"{{"}}', "")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_rule_strings_end_where_they_should(text: str) -> None:
    quoted = native.quoted(text)
    assert json.loads(quoted.replace("\\x7f", "\x7f")) == text
    assert re.fullmatch(r'"(?:[^"\\\n]|\\.)*"', quoted, re.DOTALL)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_no_redirect_adds_a_key(text: str) -> None:
    node = first()
    hostile = replace(node.services[0], redirects=(shop().redirects[0].model_copy(update={"to": text, "from_": "old.example/" + text}),))
    content = next(file.content for file in product.render(replace(node, services=(hostile,))) if file.name == "dynamic.yaml")
    http = loaded(content)["http"]  # type: ignore[index]
    assert set(http) == {"routers", "middlewares", "services", "serversTransports"}
    assert http["middlewares"][f"{hostile.name}.redirect0"]["plugin"]["pages"]["location"] == text


def test_longest_path_wins_by_whole_segments() -> None:
    short, long = nodes.route("a.example", path="/media"), nodes.route("a.example", path="/media/x")
    assert route_priority(long) > route_priority(short) + 9
    assert route_rule(short) == 'Host("a.example") && (Path("/media") || PathPrefix("/media/"))'
    assert route_rule(nodes.route("a.example", "b.example")) == '(Host("a.example") || Host("b.example"))'


def test_only_what_is_read_at_the_start_needs_a_restart() -> None:
    files = {file.name: file.content for file in product.render(first())}
    assert not product.needs_restart(files, files | {"dynamic.yaml": b"", "initial-shop.yaml": b""})
    assert product.needs_restart(files, files | {"traefik.yaml": b""})
    assert product.needs_restart(files, {})


def test_idle_time_outs_are_the_models() -> None:
    node = nodes.node("traefik", Role.ROUTER, 0, services=[crm()], is_first=True, next_=[nodes.endpoint("e", "127.0.0.1", 9010)])
    files = {file.name: loaded(file.content) for file in product.render(node) if file.name.endswith(".yaml")}
    static, dynamic = files["traefik.yaml"], files["dynamic.yaml"]
    assert static["entryPoints"]["plain"]["transport"]["respondingTimeouts"]["idleTimeout"] == "75s"  # type: ignore[index]
    assert dynamic["http"]["serversTransports"]["manor.60"]["forwardingTimeouts"]["idleConnTimeout"] == "20s"  # type: ignore[index]


def test_the_log_says_nothing_twice_and_all_that_is_read() -> None:
    fields = loaded(next(file.content for file in product.render(first()) if file.name == "traefik.yaml"))["accessLog"]["fields"]["names"]  # type: ignore[index]
    read = set(re.findall(r"entry(?:\.get\(|\[)\"(\w+)\"", Path(parse.__file__).read_text()))
    assert {"StartUTC", "TraceId", "RouterName", "OriginStatus"} < read
    assert set(fields.values()) == {"drop"}
    assert not read & set(fields)


def test_its_heap_grows_as_the_options_say() -> None:
    assert [program.argv[-1] for program in product.programs(first())] == ["200"]
    assert [program.argv[-1] for program in product.programs(first(options={"heap_growth": 100}))] == ["100"]
