"""The server-state files that bring HAProxy back with the traffic it had.

Invariant: always the port of the node, because HAProxy takes a server's port from this file.
Vendor's page: https://docs.haproxy.org/2.6/management.html#9.3 (show servers state)
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.integrations.proxies.haproxy import names

HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change "
    "srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn "
    "srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)

DISABLED_IN_FILE = 0x04
FORCED_MAINT = 0x01
FORCED_DRAIN = 0x08
# 2.6 takes a row's state only if its DISABLED_IN_FILE bit agrees with the configuration, where every server is `disabled`.
ADMIN = {
    TrafficState.READY: DISABLED_IN_FILE,
    TrafficState.DRAIN: DISABLED_IN_FILE | FORCED_DRAIN,
    TrafficState.MAINT: DISABLED_IN_FILE | FORCED_MAINT,
}
RUNNING, STOPPED = 2, 0
PASSED, FAILED = 3, 2


def traffic_state(node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> bytes:
    """Return the state file of a service; a ready server begins up, and one failed check takes it down."""
    rows = [
        row(names.backend(node, service), index, server.name, server.port, traffic[server.name], service.health.passes)
        for index, server in enumerate(service.servers, start=1)
    ]
    return document(rows)


def page_state(node: TierNode, service: ServiceView) -> bytes:
    """Return the state file with which the maintenance page is shown."""
    return document([row(names.page_backend(node, service), 1, names.PAGE_SERVER, 1, TrafficState.READY, 1)])


def row(backend: str, number: int, server: str, port: int, state: TrafficState, passes: int) -> str:
    """Return a server's row."""
    is_ready = state is TrafficState.READY
    operation, result, health = (RUNNING, PASSED, passes) if is_ready else (STOPPED, FAILED, 0)
    who = f"{names.number(backend)} {backend} {number} {server} -"
    return f"{who} {operation} {ADMIN[state]} 100 100 0 6 {result} {health} 6 0 1 1 - {port} - 0 0 - - 0"


def document(rows: list[str]) -> bytes:
    """Return a state file of version 1."""
    return "\n".join(["1", HEADER, *rows, ""]).encode()
