"""One health check of a server, made from its own host, as the switching tier before it makes it.

Invariant: reads only; a check that can't be made has failed, with the reason.
"""

from __future__ import annotations

from manor.errors import CommandFailed, Unreachable
from manor.estate.topology import ServiceView, SlotServer
from manor.execution.base import Runner
from manor.execution.values import Connect, HttpRequest

NO_ANSWER = frozenset({502, 503, 504})
"""What `web` answers for a program that does not."""


async def http_problem(runner: Runner, view: ServiceView, server: SlotServer) -> str:
    """Return what is wrong with a server's answer to the declared `health.http`; empty: nothing."""
    health = view.health
    try:
        code = await http_code(runner, view, server, server.port)
    except (Unreachable, CommandFailed) as error:
        return str(error)
    if code == health.status:
        return ""
    if code in NO_ANSWER and not await listens(runner, view, server):
        return f"not listening yet on port {server.service_port}"
    return f"{health.http} answers {code}, not {health.status}"


async def http_code(runner: Runner, view: ServiceView, server: SlotServer, port: int) -> int:
    """Return with which status the declared `health.http` is answered at a port of a server's address. Raises CommandFailed, Unreachable."""
    headers = {"Host": view.health_host, "X-Manor-Service": view.name, "Connection": "close"}
    request = HttpRequest("GET", f"http://{server.address}:{port}{view.health.http}", headers, timeout_seconds=view.health.timeout)
    return (await runner.request(request)).code


async def listens(runner: Runner, view: ServiceView, server: SlotServer) -> bool:
    """Tell whether anything accepts connections at the program's own port; `web` before it answers for it otherwise."""
    if server.service_port is None or server.service_port == server.port:
        return True
    return not await refusal(runner, view, server, server.service_port)


async def refusal(runner: Runner, view: ServiceView, server: SlotServer, port: int) -> str:
    """Return why a port of a server's address accepts no connection; empty: it does."""
    try:
        await runner.connect(Connect(server.address, port, timeout_seconds=view.health.timeout))
    except (Unreachable, CommandFailed) as error:
        return str(error)
    return ""
