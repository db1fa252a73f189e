"""What to run for a tier of Varnish; pure."""

from __future__ import annotations

from manor.estate.topology import TierNode
from manor.execution.values import Command, Effect, HostPath, Touch
from manor.integrations.proxies.base import TierProgram
from manor.integrations.proxies.varnish.options import Options
from manor.integrations.proxies.varnish.parameters import VCL_FILE
from manor.integrations.proxies.varnish.render import START_FILE

LOG_FORMAT = (
    '{{"time":"%{{VSL:Timestamp:Resp[1]}}x","piped":"%{{VSL:Timestamp:PipeSess[1]}}x","tier":"{tier}","id":"%{{X-Request-Id}}i","service":"%{{X-Manor-Service}}i",'
    '"method":"%m","host":"%{{Host}}i","path":"%U","status":"%s","upstream_status":"%{{VCL_Log:upstream}}x","end":"%{{Varnish:handling}}x",'
    '"seconds":"%D","bytes":"%O","slot":"%{{VCL_Log:slot}}x","cache":"%{{X-Manor-Cache}}o","upstream":""}}'
)
"""`seconds` is in microseconds here; `parse.py` divides."""


def workdir(node: TierNode) -> HostPath:
    """Return varnishd's working folder; short, as it holds sockets and shared memory."""
    return node.folders.sockets / f"varnish-{node.place}"


def programs(node: TierNode, options: Options) -> tuple[TierProgram, ...]:
    """Return the cache itself and the reader of its log."""
    name = f"tier-{node.key}"
    reader = ("varnishncsa", "-n", str(workdir(node)), "-t", "off", "-j", "-a", "-w", str(node.folders.access_log), "-F", LOG_FORMAT.format(tier=node.log_name))
    return (TierProgram(name, varnishd(node, options)), TierProgram(f"{name}-log", reader, starts_after=(name,)))


def varnishd(node: TierNode, options: Options) -> tuple[str, ...]:
    """Return varnishd's command line: only what cannot be changed while it runs."""
    listeners = [word for one in node.listeners for word in ("-a", f"{one.address}:{one.port},HTTP")]
    return (
        *("varnishd", "-F", "-j", "none", "-n", str(workdir(node)), *listeners, "-T", f"{node.admin_address}:{node.admin_port}"),
        *("-s", f"default=malloc,{options.storage}", "-l", str(options.log_memory)),
        *("-f", "", "-I", str(node.folders.etc / START_FILE)),
    )


def check(node: TierNode) -> Command:
    """Return the compilation of the VCL; 2 is what it ends with when it refuses."""
    argv = ("varnishd", "-j", "none", "-C", "-f", str(node.folders.etc / VCL_FILE))
    return Command(argv, Touch(node.subject), timeout_seconds=60.0, ok_codes=frozenset({0, 1, 2}))


def reload(node: TierNode) -> Command:
    """Return the load of the files as they are now; idempotent."""
    argv = ("sh", str(node.folders.etc / "reload.sh"), str(workdir(node)), str(node.folders.etc))
    return Command(argv, Touch(node.subject, Effect.RUNTIME), timeout_seconds=60.0)


def ready(node: TierNode) -> Command:
    """Return the question whether its worker runs."""
    argv = ("varnishadm", "-n", str(workdir(node)), "-t", "2", "status")
    return Command(argv, Touch(node.subject), timeout_seconds=5.0, ok_codes=frozenset({0, 1, 2}))


def loaded(node: TierNode) -> Command:
    """Return the question which VCL is in use."""
    return Command(("varnishadm", "-n", str(workdir(node)), "-t", "2", "vcl.list"), Touch(node.subject), timeout_seconds=5.0, ok_codes=frozenset({0, 1, 2}))


def version() -> Command:
    """Return the command that prints the version; to standard error."""
    return Command(("varnishd", "-V"))
