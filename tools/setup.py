"""Makes a checkout ready: Debian packages, `.venv` from the lock with `manor` in it, and the examples' wheels.

Usage: python3.11 -B -m tools.setup

Invariant: run again, it does nothing that is done already, and takes less than a second to see that.
Invariant: killed at whatever moment and run again, it leaves what it would have left: a stamp is written when all it stands for is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.needs import missing
from tools.policy import HOOK, left_over

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
WHEELHOUSE = CACHE / "wheelhouse"
LOCK = ROOT / "locks" / "requirements.lock"
DEMO_LOCK = ROOT / "locks" / "demo.lock"
held: list[int] = []
"""The descriptor of the lock under which we run."""
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"setup: {text}", flush=True)


def digest(files: Iterable[Path], *words: str) -> str:
    """Return sha256 (hex) over files and words: what a stamp compares."""
    parts = [path.read_bytes() for path in files] + [word.encode() for word in words]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_stamped(stamp: Path, wanted: str) -> bool:
    """Return whether the stamp says that this was done with just these inputs."""
    return stamp.is_file() and stamp.read_text() == wanted


def as_root(command: list[str]) -> list[str]:
    """Return the command as it is run by root, or by a user through sudo."""
    if os.geteuid() == 0:
        return command
    if shutil.which("sudo") is None:
        raise SystemExit(f"setup: neither root nor sudo is here; have an administrator run: {' '.join(command)}")
    return ["sudo", *command]


def install_packages() -> bool:
    """Install the Debian packages that are missing, and finish what a killed run left. Returns whether there was something to do."""
    packages = missing()
    if not packages and left_over() is None:
        return False
    say(f"installing {' '.join(packages)}" if packages else f"finishing an installation that was killed, and putting {HOOK} back")
    command = as_root([sys.executable, "-B", "-m", "tools.debian", *packages])
    with uninterrupted():
        subprocess.run(command, cwd=ROOT, check=True)
    return True


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Leave Ctrl-C to the program that we wait for: it gets the signal too, and ends where that does no harm."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def make_venv() -> bool:
    """Make `.venv` hold what the lock names and nothing else; one that was not finished is made anew. Returns whether there was something to do."""
    stamp, wanted = VENV / "setup.packages", digest([LOCK], str(VENV), sys.base_prefix, sys.version)
    if is_stamped(stamp, wanted):
        return False
    say(f"filling .venv with Python {sys.version.split()[0]} and the {len(_names(LOCK))} packages of {LOCK.relative_to(ROOT)}")
    stamp.unlink(missing_ok=True)  # whoever is killed from here on leaves it to be made anew
    (VENV / "setup.stamp").unlink(missing_ok=True)
    _run(sys.executable, "-m", "venv", "--clear", str(VENV))
    with ThreadPoolExecutor(1) as beside:
        wheels = beside.submit(fill_wheelhouse)
        _in_venv(*PIP, "install", "--quiet", "--no-compile", "--require-hashes", "-r", str(LOCK))
        _compile(VENV / "lib")
        wheels.result()
    stamp.write_text(wanted)
    return True


def install_project() -> bool:
    """Put this project into `.venv`, editable and compiled. Returns whether there was something to do."""
    stamp, wanted = VENV / "setup.stamp", digest([LOCK, ROOT / "pyproject.toml"], str(VENV), sys.base_prefix, sys.version)
    if is_stamped(stamp, wanted) and (VENV / "bin" / "manor").exists():
        return False
    say("putting manor into .venv")
    stamp.unlink(missing_ok=True)
    _in_venv(*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-e", ".")
    _compile(ROOT / "src")
    stamp.write_text(wanted)
    return True


def fill_wheelhouse() -> bool:
    """Fetch the wheels that the examples install without a network. Returns whether there was something to do."""
    stamp, wanted = WHEELHOUSE / "setup.stamp", digest([DEMO_LOCK], sys.version)
    if is_stamped(stamp, wanted):
        return False
    say(f"fetching the wheels of {DEMO_LOCK.relative_to(ROOT)} for the examples")
    fresh = WHEELHOUSE.with_name("wheelhouse.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    _in_venv(*PIP, "download", "--quiet", "--require-hashes", "--only-binary", ":all:", "-d", str(fresh), "-r", str(DEMO_LOCK))
    (fresh / "setup.stamp").write_text(wanted)
    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    fresh.rename(WHEELHOUSE)
    return True


def main() -> int:
    """Do what is missing, one run at a time, and say how long it took."""
    if sys.version_info < (3, 11):
        raise SystemExit("setup: Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python3.11 setup")
    began = time.monotonic()
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held[:] = [lock.fileno()]
        done = [install_packages(), make_venv(), install_project(), fill_wheelhouse()]
    say(f"ready after {time.monotonic() - began:.0f} s; try {VENV.relative_to(ROOT)}/bin/manor --help" if any(done) else "nothing to do")
    return 0


def _in_venv(*arguments: str) -> None:
    """Run the Python of `.venv`. Raises CalledProcessError."""
    _run(str(VENV / "bin" / "python"), *arguments)


def _compile(folder: Path) -> None:
    """Compile ahead, on all cores; what can't be compiled is told by whoever imports it."""
    _run(str(VENV / "bin" / "python"), "-m", "compileall", "-qq", "-j", "0", str(folder), check=False)


def _run(*command: str, check: bool = True) -> None:
    """Run a program that holds our lock too: should we be killed, the next run waits until it has ended. Raises CalledProcessError."""
    subprocess.run(command, cwd=ROOT, check=check, pass_fds=held)


def _names(lock: Path) -> list[str]:
    return [line for line in lock.read_text().splitlines() if "==" in line and not line.startswith((" ", "#"))]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failure:
        raise SystemExit(f"setup: {Path(str(failure.cmd[0])).name} ended with {failure.returncode}; its reason is above") from None
    except KeyboardInterrupt:
        raise SystemExit("setup: interrupted; run it again to go on") from None
