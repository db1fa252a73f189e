"""A host's programs → supervisord.conf.

Why these settings: an idle slot's wrapper exits 0 at once and must stay down, so `startsecs=0` and `autorestart=unexpected` for programs that have
a `wanted` file; all others run always, whatever they exit with. `startsecs=0` knows no back-off: the wrapper waits before a second start within
a second (docs/execution.md). The stop signal goes to the program itself, the final KILL to its whole group.

Invariant: a function of the host alone; no `[include]`, no inet server, no log in supervisord's pipes.
Vendor: https://supervisord.org/configuration.html
"""

from __future__ import annotations

import math

from manor.estate.layout import HostLayout
from manor.execution.values import HostPath
from manor.integrations.supervisors.base import Program, SupervisedHost, SupervisorFile, wrapped
from manor.integrations.supervisors.supervisor.quoting import checked_name, checked_signal, quote_command, quote_path

CONFIG = "supervisord.conf"
SPAWN_RETRIES = 100
"""A wrapper that is missing or a full process table: tried for over an hour, 1 s longer each time."""


def render(host: SupervisedHost) -> tuple[SupervisorFile, ...]:
    """Return its one file. Raises InvalidEstate for what supervisord cannot carry."""
    sections = [server_section(host.layout), *(program_section(program, host.layout) for program in host.programs)]
    return (SupervisorFile(CONFIG, "\n".join(sections).encode()),)


def socket_path(layout: HostLayout) -> HostPath:
    """Return supervisord's socket."""
    return layout.sockets / "supervisor.sock"


def pid_file(layout: HostLayout) -> HostPath:
    """Return supervisord's pid file; gone when it is."""
    return layout.root / "run" / "supervisor" / "supervisord.pid"


def config_file(layout: HostLayout) -> HostPath:
    """Return the file that supervisord is started with."""
    return layout.supervisor / CONFIG


def server_section(layout: HostLayout) -> str:
    """Return the sections about supervisord itself."""
    return f"""\
; Rendered by Manor from the estate; changes made here are found as drift.
[supervisord]
logfile = {quote_path(layout.root / "log" / "supervisord.log")}
logfile_maxbytes = 5MB
logfile_backups = 3
loglevel = info
pidfile = {quote_path(pid_file(layout))}
nocleanup = true
umask = 022

[unix_http_server]
file = {quote_path(socket_path(layout))}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


def program_section(program: Program, layout: HostLayout) -> str:
    """Return the section of one program."""
    name = checked_name(program.name)
    return f"""\
[program:{name}]
command = {quote_command(wrapped(program, layout))}
priority = {program.priority}
startsecs = 0
startretries = {SPAWN_RETRIES}
autorestart = {"unexpected" if program.wanted else "true"}
exitcodes = 0
stopsignal = {checked_signal(program.stop_signal)}
stopwaitsecs = {math.ceil(program.stop_seconds)}
killasgroup = true
redirect_stderr = true
stdout_logfile = NONE
"""
