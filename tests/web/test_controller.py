"""A state folder has one controller; what is handed in to it is what a verb would take."""

from __future__ import annotations

import asyncio
import fcntl
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from manor.errors import Busy, UsageError
from manor.execution.values import Secret
from manor.state.deliveries import Delivery
from manor.state.lock import take
from manor.web.access import Grant
from manor.web.api import ApiPorts
from manor.web.app import WebPorts, make_app
from manor.web.controller import control, shipping
from manor.web.sessions import Sessions, session_key
from manor.workflows.artifacts import Origin, keep_file
from manor.workflows.context import Context, open_context
from manor.workflows.gates import gate_problems
from manor.workflows.serving import Controller

ESTATE = """\
estate: alone
services:
  shop: {run: {command: "serve {address} {port}", port: 8300}, health: {http: /}, routes: [{host: shop}]}
environments: {dev: {}, prod: {after: dev, gates: [tests]}}
"""


async def test_a_second_controller_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text(ESTATE)
    with open_context(tmp_path) as context, take(context.folder / "controller.lock", fcntl.LOCK_EX, "", 0.0):
        before = sorted(path.name for path in context.folder.iterdir())
        with pytest.raises(Busy, match=r"has a controller already, which `manor down` ends"):
            await control(context, "127.0.0.1", None, lambda _: None)
        assert sorted(path.name for path in context.folder.iterdir()) == before


@dataclass
class Taking:
    """A controller that takes in and does not deliver."""

    context: Context
    client: TestClient
    accepted: list[Delivery] = field(default_factory=list)

    async def accept(self, delivery: Delivery) -> Delivery:
        self.accepted.append(delivery)
        return delivery

    def hand_in(self, **files: bytes) -> httpx2.Response:
        """Hand in over the API."""
        sent = {name: (name, content) for name, content in files.items()}
        return self.client.post("/api/v1/services/shop/artifacts", params={"commit": "c0ffee"}, files=sent, headers={"Authorization": "Bearer ship"})

    def gate(self, artifact: str) -> list[str]:
        """Return what the gate says of an artifact."""
        return asyncio.run(gate_problems(self.context, artifact, ["tests"]))


@pytest.fixture
def taking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Taking]:
    async def check(token: Secret) -> Grant | None:
        return Grant(token.value, frozenset({token.value}))

    (tmp_path / "estate.yaml").write_text(ESTATE)
    with open_context(tmp_path) as context:
        controller = Controller(context)
        api = ApiPorts(ship=shipping(controller), incoming=context.store.folder.artifacts / "incoming")
        app = make_app(WebPorts(check, Sessions(session_key(context.folder / "web.key")), api))
        with TestClient(app, raise_server_exceptions=False) as client:
            found = Taking(context, client)
            monkeypatch.setattr(controller.deliveries, "accept", found.accept)
            yield found


def packed(content: bytes) -> bytes:
    """Return an archive with one file."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo("shop.py")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return whole.getvalue()


REPORTS = {
    b'<testsuite><testcase name="a"/></testsuite>': "",
    b'<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>': "gate tests: 1 of 2 tests failed",
    b"<testsuite/>": "gate tests: the artifact came without a report of tests",
}


@pytest.mark.parametrize("report", REPORTS)
def test_the_gate_sees_a_report_from_the_api_as_one_from_the_verb(taking: Taking, tmp_path: Path, report: bytes) -> None:
    answer = taking.hand_in(artifact=packed(b"one"), junit=report)
    assert answer.status_code == 202, answer.text
    [delivery] = taking.accepted
    seen = taking.gate(delivery.artifact)
    assert [line.startswith(REPORTS[report]) for line in seen] == ([True] if REPORTS[report] else [])
    (tmp_path / "shop.tar").write_bytes(packed(b"two"))
    (tmp_path / "r.xml").write_bytes(report)
    kept = asyncio.run(keep_file(taking.context, "shop", tmp_path / "shop.tar", Origin(junit=tmp_path / "r.xml")))
    taking.context.store.write_now(kept)
    assert taking.gate(kept.digest) == seen


@pytest.mark.parametrize(
    ("report", "why"),
    [(b"oops", "junit: is not XML: syntax error"), (b"<html/>", "junit: is not a JUnit report"), (b"<testsuite>" * 200, "junit: is nested deeper")],
)
def test_a_report_that_can_not_be_read_leaves_nothing(taking: Taking, report: bytes, why: str) -> None:
    answer = taking.hand_in(artifact=packed(b"one"), junit=report)
    assert (answer.status_code, answer.json()["exit_code"], answer.json()["error"][: len(why)]) == (400, 2, why)
    assert taking.accepted == []
    assert [path for path in taking.context.store.folder.artifacts.rglob("*") if path.is_file()] == []


def test_a_report_that_is_too_large_is_refused_by_the_verb_too(taking: Taking, tmp_path: Path) -> None:
    (tmp_path / "shop.tar").write_bytes(packed(b"one"))
    with (tmp_path / "r.xml").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(UsageError, match=r"r\.xml: is larger than 67108864 bytes"):
        asyncio.run(keep_file(taking.context, "shop", tmp_path / "shop.tar", Origin(junit=tmp_path / "r.xml")))
    assert [path for path in taking.context.store.folder.artifacts.rglob("*") if path.is_file()] == []


def test_what_is_no_archive_is_told_without_the_name_of_our_own_file(taking: Taking) -> None:
    answer = taking.client.post("/api/v1/services/shop/artifacts", content=b"hello" * 1000, headers={"Authorization": "Bearer ship"})
    assert answer.json()["error"].startswith("the artifact that was sent: is not an archive that is known here")
    assert "incoming" not in answer.text
