"""What is answered before git's backend is started at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from manor.execution.values import HostPath, Secret
from manor.integrations.repositories.base import Source
from manor.registry import product
from manor.web.access import Grant
from manor.web.git import GitLimits, GitPorts, GitServer
from manor.web.pushes import parse_moved


class NoDelivery:
    """Knows no run."""

    async def catch_up(self, repository: str, actor: str) -> None:
        return None

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        return None

    async def follow(self, run: str) -> AsyncGenerator[str, None]:
        yield run


async def check(token: Secret) -> Grant | None:
    return {"r": Grant("reader", frozenset({"read"})), "p": Grant("pusher", frozenset({"push"}))}.get(token.value)


def client(limits: GitLimits) -> TestClient:
    """Return a client of a server whose only repository does not exist on the disk."""
    source = Source("shop", HostPath("/nonexistent/shop.git"))
    ports = GitPorts(
        product("repositories", "hosted"), lambda name: source if name == "shop" else None, check, NoDelivery(), "http://127.0.0.1", HostPath("/"), limits
    )
    return TestClient(Starlette(routes=GitServer(ports).routes()), base_url="http://127.0.0.1")


FETCH, PUSH = "/git/shop.git/git-upload-pack", "/git/shop.git/git-receive-pack"


@pytest.mark.parametrize(
    ("path", "token", "size", "status", "words"),
    [
        (FETCH, "", 0, 401, "a token is needed"),
        (FETCH, "x", 0, 401, "a token is needed"),
        (PUSH, "r", 0, 403, "lacks the scope `push`"),
        (PUSH.replace("shop", "other"), "p", 0, 404, "no such repository"),
        (PUSH.replace("shop", "Sh;op"), "p", 0, 404, "no such repository"),
        (PUSH, "p", 3_000_000, 413, "too large"),
        (FETCH, "r", 0, 503, "too many at once"),
        (PUSH, "p", 0, 503, "too many at once"),
    ],
)
def test_refusals(path: str, token: str, size: int, status: int, words: str) -> None:
    full = GitLimits(fetches=0, pushes=0, wait_seconds=0.01, largest_body_bytes=1_000_000)
    headers = {"Content-Type": f"application/x-{path.rsplit('/', 1)[1]}-request"}
    answer = client(full).post(path, auth=("any", token), headers=headers, content=b"x" * size)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


def test_other_content_types() -> None:
    assert client(GitLimits()).post(PUSH, auth=("any", "p"), headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_hook_of_no_push_is_told_nothing() -> None:
    assert client(GitLimits()).post("/git/pushes/guessed", content=b"").status_code == 404


@pytest.mark.parametrize(
    ("body", "moved"),
    [
        ("", ()),
        ("a b refs/heads/main\n", (("refs/heads/main", "b"),)),
        (f"a {'0' * 40} refs/heads/gone\n", ()),
        ("a b refs/tags/v1\n", ()),
        ("nonsense\n", ()),
        ("a b refs/heads/with space\n", (("refs/heads/with space", "b"),)),
    ],
)
def test_what_a_hook_reports(body: str, moved: tuple[tuple[str, str], ...]) -> None:
    assert parse_moved(body) == moved
