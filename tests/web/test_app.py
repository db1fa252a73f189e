"""The API, the pages and what everything carries, in one process without a network."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import cast

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from manor import errors
from manor.execution.values import Secret
from manor.web import uploads
from manor.web.access import Grant, token_of
from manor.web.api import ApiPorts, Handed
from manor.web.app import WebPorts, make_app
from manor.web.sessions import Sessions, session_key
from manor.web.uploads import received
from manor.web.views import DeliveryView, OperationView, ReceiptView, RunView, StatusPage
from tests.web.showing import full_page

GRANTS = {scope: Grant(scope, frozenset({scope})) for scope in ("read", "push", "ship", "admin")}


@dataclass
class Estate:
    """Answers the API's functions."""

    handed: list[tuple[Handed, bytes]] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)
    refusal: errors.ManorError | Exception | None = None
    waits: DeliveryView | None = None

    async def status(self) -> StatusPage:
        if self.refusal:
            raise self.refusal
        return full_page()

    async def runs(self, repository: str, limit: int) -> Sequence[RunView]:
        return [run for run in full_page().runs if run.repository == (repository or run.repository)][:limit]

    async def run(self, identifier: str) -> RunView:
        found = {run.id: run for run in full_page().runs}.get(identifier)
        if found is None:
            raise errors.UsageError(f"there is no run {identifier!r}")
        return found

    async def run_log(self, identifier: str) -> AsyncGenerator[str, None]:
        for line in (f"log of {identifier}", "done"):
            yield line

    async def receipt(self, operation: str) -> ReceiptView | None:
        return next((row for row in full_page().receipts if row.operation == operation), None)

    async def delivery(self, identifier: str) -> DeliveryView:
        if self.waits is None or self.waits.id != identifier:
            raise errors.UsageError(f"there is no delivery {identifier!r}")
        return self.waits

    async def ship(self, handed: Handed) -> OperationView | DeliveryView:
        self.handed.append((handed, handed.upload.file.read_bytes()))
        self.reports += [handed.upload.junit.read_bytes()] if handed.upload.junit else []
        if self.waits:
            return self.waits
        return OperationView(id="op-1", verb="ship", service=handed.service, actor=handed.actor, state="planned")


@pytest.fixture
def estate() -> Estate:
    return Estate()


@pytest.fixture
def client(estate: Estate, tmp_path: Path) -> Iterator[TestClient]:
    async def check(token: Secret) -> Grant | None:
        return GRANTS.get(token.value)

    log = estate.run_log
    api = ApiPorts(
        status=estate.status,
        runs=estate.runs,
        run=estate.run,
        run_log=log,
        receipt=estate.receipt,
        ship=estate.ship,
        delivery=estate.delivery,
        incoming=tmp_path / "incoming",
        largest_artifact_bytes=1000,
    )
    app = make_app(WebPorts(check, Sessions(session_key(tmp_path / "key")), api, None, asyncio.Event()))
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False, raise_server_exceptions=False) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "error"),
    [
        ("GET", "/api/v1/health", "", 200, ""),
        ("GET", "/api/v1/status", "", 401, "a valid token is needed"),
        ("GET", "/api/v1/status", "wrong", 401, "a valid token is needed"),
        ("GET", "/api/v1/status", "read", 200, ""),
        ("GET", "/api/v1/runs?limit=x", "read", 400, "limit: 'x' is not a number"),
        ("GET", f"/api/v1/runs?limit={'9' * 5000}", "read", 200, ""),
        ("GET", "/api/v1/runs?limit=²", "read", 400, "limit: '²' is not a number"),
        ("GET", "/api/v1/runs/none", "read", 404, "there is no run 'none'"),
        ("GET", "/api/v1/runs/none/log", "read", 404, "there is no run 'none'"),
        ("GET", "/api/v1/receipts/none", "read", 404, "there is no such receipt"),
        ("GET", "/api/v1/receipts", "read", 404, "Not Found"),
        ("GET", "/api/v1/operations", "read", 404, "Not Found"),
        ("DELETE", "/api/v1/runs", "admin", 405, "Method Not Allowed"),
        ("POST", "/api/v1/services/shop/artifacts", "read", 403, "the token 'read' lacks the scope `ship`"),
        ("POST", "/api/v1/services/Shop;x/artifacts", "ship", 404, "there is no such service"),
        ("POST", "/api/v1/services/shop/artifacts", "ship", 422, "the body is empty"),
    ],
)
def test_answers(client: TestClient, method: str, path: str, token: str, status: int, error: str) -> None:
    answer = client.request(method, path, headers=bearer(token) if token else {})
    assert answer.status_code == status, answer.text
    if error:
        assert answer.json()["error"].startswith(error)
        assert answer.json()["hint"] or status < 404 or status == 422


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (errors.UsageError("x"), 400, 2),
        (errors.InvalidEstate(["estate.yaml:1: x"]), 422, 3),
        (errors.NotOurs("x"), 403, 4),
        (errors.Busy("x"), 409, 7),
        (errors.FencedOff("x"), 409, 7),
        (errors.TimedOut("x"), 504, 8),
        (errors.Unreachable("x"), 502, 8),
        (errors.NotRestored("x"), 500, 6),
        (errors.CommandFailed("x", 1), 500, 5),
    ],
)
def test_refusals_have_status_hint_and_exit_code(client: TestClient, estate: Estate, refusal: errors.ManorError, status: int, code: int) -> None:
    estate.refusal = refusal
    answer = client.get("/api/v1/status", headers=bearer("read"))
    assert (answer.status_code, answer.json()["error"], answer.json()["exit_code"]) == (status, str(refusal), code)
    assert answer.json()["hint"]


def test_what_nobody_foresaw_tells_nothing_of_itself(client: TestClient, estate: Estate) -> None:
    estate.refusal = RuntimeError("password=hunter2")
    answer = client.get("/api/v1/status", headers=bearer("read"))
    assert answer.status_code == 500
    assert "hunter2" not in answer.text


def test_status_is_the_page_as_json(client: TestClient) -> None:
    assert StatusPage.model_validate(client.get("/api/v1/status", headers=bearer("read")).json()) == full_page()


def test_runs_of_one_repository(client: TestClient) -> None:
    found = client.get("/api/v1/runs?repository=warehouse&limit=1", headers=bearer("read")).json()["runs"]
    assert [run["id"] for run in found] == ["r3"]


def test_log_as_text_and_as_events(client: TestClient) -> None:
    assert client.get("/api/v1/runs/r1/log", headers=bearer("read")).text == "log of r1\ndone\n"
    events = client.get("/api/v1/runs/r1/log", headers={**bearer("read"), "Accept": "text/event-stream"})
    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.text == "data: log of r1\n\ndata: done\n\nevent: end\ndata:\n\n"


def test_an_artifact_is_handed_in(client: TestClient, estate: Estate, tmp_path: Path) -> None:
    body = b"x" * 1000
    query = {"commit": "abc", "build_url": "https://ci.example/7", "to": "test", "sha256": hashlib.sha256(body).hexdigest()}
    answer = client.post("/api/v1/services/shop/artifacts", params=query, content=body, headers=bearer("ship"))
    assert (answer.status_code, answer.headers["location"]) == (202, "/api/v1/operations/op-1")
    [(handed, content)] = estate.handed
    assert (handed.service, handed.commit, handed.build_url, handed.to, handed.actor) == ("shop", "abc", "https://ci.example/7", "test", "ship")
    assert (content, handed.upload.size_bytes, handed.upload.digest) == (body, 1000, query["sha256"])
    assert list((tmp_path / "incoming").iterdir()) == []


def test_an_artifact_that_has_to_wait_is_a_delivery_to_ask_for(client: TestClient, estate: Estate) -> None:
    estate.waits = DeliveryView(id="d-1", service="shop", artifact="a", start="dev", state="open", summary="held by ada", created_at=1.0)
    answer = client.post("/api/v1/services/shop/artifacts?again=mended", content=b"x", headers=bearer("ship"))
    assert (answer.status_code, answer.headers["location"], answer.json()["summary"]) == (202, "/api/v1/deliveries/d-1", "held by ada")
    assert estate.handed[0][0].again == "mended"
    assert client.get(answer.headers["location"], headers=bearer("read")).json()["id"] == "d-1"
    assert client.get("/api/v1/deliveries/none", headers=bearer("read")).status_code == 404


@pytest.mark.parametrize(("body", "query", "status"), [(b"x" * 1001, {}, 413), (b"x", {"sha256": "0" * 64}, 422), (b"", {}, 422)])
def test_a_bad_artifact_reaches_nobody(client: TestClient, estate: Estate, tmp_path: Path, body: bytes, query: dict[str, str], status: int) -> None:
    answer = client.post("/api/v1/services/shop/artifacts", params=query, content=body, headers=bearer("ship"))
    assert answer.status_code == status
    assert answer.json()["error"]
    assert estate.handed == []
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("promised", ["abc", "g" * 64, "0" * 63, "0" * 65, "sha256:" + "0" * 64])
def test_what_is_no_sha256_is_told_as_such(client: TestClient, estate: Estate, promised: str) -> None:
    answer = client.post("/api/v1/services/shop/artifacts", params={"sha256": promised}, content=b"x", headers=bearer("ship"))
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"sha256: '{promised}' is no sha256, which has 64 hex digits")
    assert estate.handed == []


def test_an_artifact_is_handed_in_with_its_report(client: TestClient, estate: Estate, tmp_path: Path) -> None:
    files = {"junit": ("report.xml", b"<testsuite/>"), "artifact": ("shop.tar", b"x" * 1000)}
    answer = client.post("/api/v1/services/shop/artifacts", params={"commit": "abc"}, files=files, headers=bearer("ship"))
    assert answer.status_code == 202, answer.text
    [(handed, content)] = estate.handed
    assert (handed.commit, content, handed.upload.digest) == ("abc", b"x" * 1000, hashlib.sha256(b"x" * 1000).hexdigest())
    assert estate.reports == [b"<testsuite/>"]
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "status", "why"),
    [
        ([("artifact", b"x" * 1001)], 413, "artifact: larger than 1000 bytes"),
        ([("artifact", b"x"), ("junit", b"r" * 51)], 413, "junit: larger than 50 bytes"),
        ([("junit", b"r")], 422, "the body is empty; send the artifact"),
        ([("artifact", b"x"), ("junit", b"")], 422, "junit: the report is empty; leave the field out"),
        ([("artifact", b"x"), ("artifact", b"y")], 422, "the form has the field artifact twice"),
        ([("artifact", b"x"), ("commit", b"abc")], 422, "the form has a field 'commit'; the fields are artifact and junit"),
    ],
)
def test_a_bad_form_reaches_nobody(
    client: TestClient, estate: Estate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: list[tuple[str, bytes]], status: int, why: str
) -> None:
    monkeypatch.setattr("manor.web.api.received", partial(received, largest_report_bytes=50))
    files = [(name, ("f", content)) for name, content in fields]
    answer = client.post("/api/v1/services/shop/artifacts", files=files, headers=bearer("ship"))
    assert (answer.status_code, answer.json()["error"][: len(why)]) == (status, why)
    assert estate.handed == []
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_form_that_is_cut_short_reaches_nobody(client: TestClient, estate: Estate, tmp_path: Path) -> None:
    head = {**bearer("ship"), "Content-Type": "multipart/form-data; boundary=b"}
    body = b'--b\r\nContent-Disposition: form-data; name="artifact"\r\n\r\nhalf of it'
    answer = client.post("/api/v1/services/shop/artifacts", content=body, headers=head)
    assert (answer.status_code, answer.json()["error"].split(";")[0]) == (422, "the form ends before its last boundary")
    assert estate.handed == []
    assert list((tmp_path / "incoming").iterdir()) == []


class Stalled:
    """A request whose body does not go on."""

    headers: Mapping[str, str] = MappingProxyType({})
    query_params: Mapping[str, str] = MappingProxyType({})

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()


async def test_an_upload_that_stalls_is_given_up(tmp_path: Path) -> None:
    upload = received(cast("Request", Stalled()), tmp_path / "incoming", 1000, idle_seconds=0.01)
    with pytest.raises(HTTPException, match="nothing came for"):
        await upload.__aenter__()
    assert list((tmp_path / "incoming").iterdir()) == []


class Trickling:
    """A request whose body comes byte by byte for ever."""

    headers: Mapping[str, str] = MappingProxyType({})
    query_params: Mapping[str, str] = MappingProxyType({})

    def __init__(self, quick_at_first: int) -> None:
        self.quick_at_first = quick_at_first
        self.now = 0.0

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"x" * self.quick_at_first
        while True:
            self.now += 100.0
            yield b"x"


@pytest.mark.parametrize("quick_at_first", [1, 5_000_000])
async def test_an_upload_that_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_at_first: int) -> None:
    request = Trickling(quick_at_first)
    upload = received(cast("Request", request), tmp_path / "incoming", 10_000_000)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: request.now)
    with pytest.raises(HTTPException, match="for long less than 1024 bytes a second"):
        await upload.__aenter__()
    assert request.now <= 300
    assert list((tmp_path / "incoming").iterdir()) == []


def test_only_so_many_uploads_at_once_and_what_a_killed_controller_left_goes(client: TestClient, estate: Estate, tmp_path: Path) -> None:
    for _ in range(uploads.MOST_AT_ONCE):
        os.close(uploads.new_file(tmp_path / "incoming")[0])
        os.close(uploads.new_file(tmp_path / "incoming", uploads.REPORT_PREFIX)[0])
    answer = client.post("/api/v1/services/shop/artifacts", content=b"x", headers=bearer("ship"))
    assert (answer.status_code, estate.handed) == (503, [])
    uploads.sweep(tmp_path / "incoming")
    assert list((tmp_path / "incoming").iterdir()) == []
    assert client.post("/api/v1/services/shop/artifacts", content=b"x", headers=bearer("ship")).status_code == 202


def test_a_key_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("manor.execution.durable.Disk.write", full)
        with pytest.raises(OSError, match="No space"):
            session_key(tmp_path / "key")
    assert session_key(tmp_path / "key") == session_key(tmp_path / "key")


def log_in(client: TestClient) -> None:
    answer = client.post("/login", data={"token": "read"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "read" not in cookie.split(";")[0]


def test_the_page_is_for_those_who_logged_in(client: TestClient) -> None:
    assert client.get("/").headers["location"] == "/login"
    assert client.post("/login", data={"token": "wrong"}).status_code == 401
    client.cookies.set("manor_session", "forged")
    assert client.get("/").status_code == 303
    client.cookies.clear()
    log_in(client)
    assert client.get("/").status_code == 200


def test_the_page_shows_everything_and_nothing_runs(client: TestClient) -> None:
    log_in(client)
    text = client.get("/").text
    for words in (
        "acme-health",
        "Needs you",
        "web-2",
        "draining",
        "12 requests in flight",
        "8be1f00dc0de",
        "0 of 412 requests",
        "3 of 530 requests",
        "rolled back",
        "web-1: /healthz answers 500, not 200",
        "not probed",
        "after stage",
    ):
        assert words in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert not re.findall(r'(?:src|href|action)="(?!/|#|https://warehouse)', text)
    assert not re.search(r"\son\w+=|style=", text)


def test_log_off_needs_the_forms_own_key(client: TestClient) -> None:
    log_in(client)
    assert client.post("/logout", data={"form_key": "guessed"}).status_code == 403
    key = re.search(r'name="form_key" value="(\w+)"', client.get("/").text)
    assert key
    assert client.post("/logout", data={"form_key": key[1]}).status_code == 303
    assert client.get("/").status_code == 303


def test_every_answer_carries_the_safe_headers(client: TestClient) -> None:
    for path in ("/", "/login", "/api/v1/health", "/nothing", "/static/style.css", "/static/../app.py"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"


def test_static_files_are_a_closed_set(client: TestClient) -> None:
    assert client.get("/static/style.css").headers["content-type"].startswith("text/css")
    assert client.get("/static/status.html").status_code == 404


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic eDphYmM=", "abc"),
        ("Basic OmFiYw==", "abc"),
        ("Basic eDo=", None),
        ("Basic eA==", None),
        ("Basic !!", None),
        ("Bearer ", None),
        ("Digest x", None),
        ("", None),
    ],
)
def test_tokens_in_headers(header: str, token: str | None) -> None:
    found = token_of(header)
    assert (found.value if found else None) == token
    assert "abc" not in repr(found)
