"""Makes one HTTP request, over TCP or a Unix socket, exactly as asked.

Invariant: never retried, never redirected, never through a proxy of the environment; a connection serves one request.
The `Host` header is the TLS server name too, so that a name can be asked at an address.
"""

from __future__ import annotations

import asyncio
import ssl
import time

import httpx2

from manor.errors import CommandFailed, ManorError, TimedOut, Unreachable
from manor.execution.messages import last_lines, masked, revealed, secrets_of, shown
from manor.execution.values import Completed, HttpRequest


async def request(asked: HttpRequest, host: str) -> Completed:
    """Make the request. Raises CommandFailed (a status outside ok_codes), TimedOut, Unreachable."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(asked.timeout_seconds):
            answer = await _send(asked)
    except (TimeoutError, httpx2.TimeoutException):
        raise TimedOut(f"{host}: `{shown(asked)}`: no full answer within {asked.timeout_seconds:g} s") from None
    except (httpx2.TransportError, OSError) as error:
        raise Unreachable(f"{host}: `{shown(asked)}`: {masked(str(error), secrets_of(asked)) or type(error).__name__}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        raise CommandFailed(f"{host}: `{shown(asked)}`: is no request that can be sent", 0) from None
    completed = Completed(answer.status_code, answer.content, headers=dict(answer.headers), seconds=time.monotonic() - began)
    return judged(asked, completed, host)


def judged(asked: HttpRequest, completed: Completed, host: str) -> Completed:
    """Return the answer, or raise CommandFailed saying what was asked, where, and the end of the answer."""
    if asked.ok_codes is not None and completed.code not in asked.ok_codes:
        lines = last_lines(completed.out, secrets_of(asked))
        raise CommandFailed(f"{host}: `{shown(asked)}` answered {completed.code}{lines}", completed.code)
    return completed


async def _send(asked: HttpRequest) -> httpx2.Response:
    headers = {name: revealed(value) for name, value in asked.headers.items()}
    verify = _trust(asked)
    transport = httpx2.AsyncHTTPTransport(verify=verify, uds=str(asked.socket) if asked.socket else None, retries=0, trust_env=False)
    name = next((value for key, value in headers.items() if key.lower() == "host"), "")
    extensions = {"sni_hostname": name.rsplit(":", 1)[0]} if name else {}
    async with httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=asked.timeout_seconds) as client:
        return await client.request(asked.method, asked.url, headers=headers, content=asked.body, extensions=extensions)


def _trust(asked: HttpRequest) -> ssl.SSLContext | bool:
    if not asked.url.lower().startswith("https:"):
        return False
    try:
        return ssl.create_default_context(cafile=str(asked.ca_file) if asked.ca_file else None)
    except OSError as error:
        raise ManorError(f"{asked.ca_file}: is no file of certificates: {error.strerror or error}") from error
