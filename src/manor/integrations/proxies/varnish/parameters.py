"""What varnishd does first, as commands of its CLI: its parameters, and the VCL under a name made from its content.

Invariant: a VCL's name says its content, so that `vcl.list` tells which files a process works by.

https://varnish-cache.org/docs/7.1/reference/varnishd.html#list-of-parameters
"""

from __future__ import annotations

import hashlib

from manor.estate.timeouts import pause_seconds, silence_seconds, tunnel_seconds
from manor.estate.topology import TierNode
from manor.integrations.proxies.varnish.options import Options

VCL_FILE = "default.vcl"


def parameters(node: TierNode, options: Options) -> dict[str, str]:
    """Return parameters by name, in the order in which they may be set."""
    longest = max([silence_seconds({"page"}), *(service.response_seconds for service in node.services)])
    answer = options.header_size + 32 * 1024
    return {
        "timeout_idle": seconds(node.accept_idle_seconds),
        "backend_idle_timeout": seconds(node.send_idle_seconds),
        "first_byte_timeout": seconds(longest),
        "between_bytes_timeout": seconds(longest),
        "pipe_timeout": seconds(max(longest, tunnel_seconds())),
        "idle_send_timeout": seconds(pause_seconds({"page"})),
        "send_timeout": seconds(24 * 3600.0),
        "workspace_backend": f"{4 * answer}b",
        "workspace_client": f"{4 * answer}b",
        "http_req_hdr_len": f"{options.header_size}b",
        "http_req_size": f"{answer}b",
        "http_resp_hdr_len": f"{options.header_size}b",
        "http_resp_size": f"{answer}b",
        "http_max_hdr": str(options.headers),
        "thread_pool_max": str(options.threads_max),
        "thread_pool_min": str(min(options.threads_min, options.threads_max)),
        "default_keep": "0",
        "vcl_cooldown": "60",
        "vsl_reclen": "8191b",
    }


def seconds(value: float) -> str:
    """Return e.g. `30.000`."""
    return f"{value:.3f}"


def vcl_name(content: bytes) -> str:
    """Return the name that a VCL is loaded under; `reload.sh` makes the same."""
    return f"manor-{hashlib.sha256(content).hexdigest()[:12]}"


def commands_file(node: TierNode, options: Options, content: bytes) -> bytes:
    """Return `start.cli`: the parameters, which a reload gives again, then the VCL."""
    lines = [f"param.set {name} {value}" for name, value in parameters(node, options).items()]
    name = vcl_name(content)
    lines += [f"vcl.load {name} {node.folders.etc / VCL_FILE}", f"vcl.use {name}"]
    return "".join(f"{line}\n" for line in lines).encode()
