"""Describes the machine that measured: hardware, kernel and tools; never its name or its folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

TOOLS = {
    "haproxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "varnish": ("varnishd", "-V"),
    "traefik": ("traefik", "version"),
    "wrk": ("wrk", "-v"),
}
VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


def describe() -> dict[str, str]:
    """Return what a reader must know to compare."""
    return {
        "cpu": cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_bytes() / 2**30:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "supervisor": version("supervisor"),
        **{name: tool_version(argv) for name, argv in TOOLS.items()},
    }


def cpu() -> str:
    """Return the model of the first core."""
    return str(re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[0]).strip()


def memory_bytes() -> int:
    """Return how much memory there is."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def tool(name: str) -> str:
    """Return the path of a program: of the system, else of the virtual environment. Raises FileNotFoundError."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; run `make setup`")
    return found


def tool_version(argv: tuple[str, ...]) -> str:
    """Return the first thing in a program's answer that looks like a version."""
    done = subprocess.run([tool(argv[0]), *argv[1:]], capture_output=True, text=True, timeout=20, check=False)
    found = VERSION.search(done.stdout + done.stderr)
    return found.group() if found else "unknown"
