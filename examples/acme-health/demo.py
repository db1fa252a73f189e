"""The whole path on this machine: four environments up, a push built, tested and shipped to prod, and a second one under load.

Usage: python examples/acme-health/demo.py up|down   (`make demo`, `make demo-down`)

Exits 1 and prints every lost request if there is one. All it makes is in `.manor/state` beside this file, but for a line in the
machine-wide address file; `down` removes both.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manor.observe.probe.model import Loss, ProbeConfig, Target
from manor.observe.probe.results import read_results
from manor.observe.probe.summary import ProbeResult, summarize
from manor.observe.window import Window

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STATE = HERE / ".manor" / "state"
WORK = STATE / "demo"
MANOR = Path(sys.executable).with_name("manor")
CACHEABLE_RATE, PAST_CACHE_RATE = 450.0, 50.0
LONGEST_SECONDS = 900.0
CACHE_SECONDS = 20.0
TOKEN = re.compile(r"manor_[A-Za-z0-9_-]{32,}")
BEGAN = time.monotonic()
os.environ["MANOR_WHEELHOUSE"] = str(ROOT / ".cache" / "wheelhouse")


def say(text: str) -> None:
    """Print a heading with the seconds since the beginning."""
    heading = f"[{time.monotonic() - BEGAN:5.1f} s] {text}"
    print(f"\n\033[1m{heading}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else f"\n{heading}", flush=True)


def run(*words: str | Path, cwd: Path = HERE, quiet: bool = False) -> str:
    """Run a command, show what it prints unless quiet, and end the demo if it fails. A token is returned and never shown."""
    with subprocess.Popen(list(map(str, words)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if not quiet:
                print(f"  {masked(line)}", end="", flush=True)
    if process.returncode:
        sys.exit(masked(f"{' '.join(map(str, words))}: exit code {process.returncode}\n{''.join(lines) if quiet else ''}"))
    return "".join(lines)


def masked(text: str) -> str:
    """Return the text without tokens."""
    return TOKEN.sub("***", text)


def bring_up() -> tuple[str, str]:
    """Bring every environment and the controller up; return the controller's URL and the first admin token."""
    WORK.mkdir(parents=True, exist_ok=True)
    out = run(MANOR, "up")
    lines = [line.strip() for line in out.splitlines()]
    url = next(line.split()[1] for line in lines if line.startswith("controller "))
    return url, next(line.split(": ", 1)[1] for line in lines if "shown this once" in line)


def make_repository(url: str, token: str) -> Path:
    """Make a clone-like work tree of the warehouse that pushes to the hosted git."""
    tree = WORK / "warehouse"
    shutil.copytree(HERE / "warehouse", tree)
    git = ("git", "-c", "user.name=Ada Analyst", "-c", "user.email=ada@acme.example")
    run("git", "init", "-q", "-b", "main", cwd=tree)
    run("git", "config", "user.name", "Ada Analyst", cwd=tree)
    run("git", "config", "user.email", "ada@acme.example", cwd=tree)
    run("git", "add", "-A", cwd=tree)
    run(*git, "commit", "-q", "-m", "The warehouse", cwd=tree)
    run("git", "remote", "add", "origin", f"{url}/git/warehouse.git", cwd=tree)
    keep_credentials(tree, url, token)
    return tree


def keep_credentials(tree: Path, url: str, token: str) -> None:
    """Leave the token in a file that only its owner reads, as the one place where git looks for this repository's."""
    file = WORK / "git-credentials"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(f"{url.replace('//', f'//ada:{token}@')}\n")
    for helper in ("", f"store --file={shlex.quote(str(file))}"):
        run("git", "config", "--add", "credential.helper", helper, cwd=tree)


def change(tree: Path) -> None:
    """Make a change that anybody can see."""
    file = tree / "metadata.yaml"
    file.write_text(file.read_text().replace("version 1", "version 2"))
    run("git", "commit", "-q", "-a", "-m", "Version 2", cwd=tree)


def addresses() -> dict[str, str]:
    """Return the address of the service in each environment."""
    rows = [json.loads(line) for line in run(MANOR, "up", "--json", quiet=True).splitlines()]
    return {row["environment"]: row["urls"]["warehouse"] for row in rows if row["event"] == "result" and "urls" in row}


def target(name: str, url: str, path: str, rate: float) -> Target:
    """Return one kind of load on the front door."""
    host, _, port = url.removeprefix("https://").rstrip("/").partition(":")
    authority = str(STATE / "ca" / "authority.pem")
    return Target(name=name, address="127.0.0.1", port=int(port), host=host, rate=rate, paths=(path,), ca_file=authority, share_new=0.1, expected=(200,))


def start_load(url: str) -> subprocess.Popen[bytes]:
    """Have requests arrive at prod's front door, however slow the answers."""
    targets = (
        target("cacheable", url, "/warehouse/clinics.json?_shape=array", CACHEABLE_RATE),
        target("past the cache", url, "/-/versions.json", PAST_CACHE_RATE),
    )
    config = ProbeConfig(targets=targets, results=str(WORK / "load.jsonl"), stop_file=str(WORK / "load.stop"), deadline=time.time() + LONGEST_SECONDS)
    (WORK / "load.json").write_text(config.model_dump_json())
    return subprocess.Popen([sys.executable, "-m", "manor.observe.probe", str(WORK / "load.json")], start_new_session=True)


def stop_load(process: subprocess.Popen[bytes]) -> ProbeResult:
    """End the load and return what became of it."""
    (WORK / "load.stop").touch()
    process.wait(60)
    recording = read_results(WORK / "load.jsonl")
    moments = [outcome.due for outcome in recording.outcomes]
    return summarize(recording.outcomes, recording.config, Window(min(moments), max(moments) + 1e-6))


def title(url: str) -> str:
    """Return the title of a page, asked for with curl."""
    page = run("curl", "-sS", "--cacert", STATE / "ca" / "authority.pem", url, quiet=True)
    return page.partition("<title>")[2].partition("</title>")[0].strip()


def new_title(url: str, old: str) -> str:
    """Return the title once it is another: the cache may show the old page for its few seconds (`ttl`) and once more while it fetches the new one."""
    limit = time.monotonic() + CACHE_SECONDS
    while (found := title(url)) == old and time.monotonic() < limit:
        time.sleep(0.5)
    return found


def certified_in_prod() -> str:
    """Return the release that is certified in prod; end the demo if there is none."""
    rows = [json.loads(line) for line in run(MANOR, "status", "-e", "prod", "--json", quiet=True).splitlines()]
    release = str(next(service["certified"] for service in rows[-1]["services"] if service["name"] == "warehouse"))
    return release or sys.exit("the push did not reach prod; its run says why above")


def newest_receipt() -> dict[str, Any]:
    """Return the last receipt of prod."""
    rows = [json.loads(line) for line in run(MANOR, "receipt", "warehouse", "-e", "prod", "--json", quiet=True).splitlines()]
    return dict(rows[-1]["receipt"])


def loss_lines(losses: Iterable[Loss]) -> Iterable[str]:
    """Yield every lost request."""
    for loss in losses:
        at = datetime.fromtimestamp(loss.due, UTC).strftime("%H:%M:%S.%f")[:-3]
        yield f"  LOST {at} {loss.target}: {loss.kind} {loss.status or ''} after {loss.seconds:.2f} s on a {loss.lane} connection"


def up() -> int:
    """Run the demonstration; return the exit code."""
    down(quiet=True)
    say("dev, test, stage and prod come up on this machine (prod: 1 edge, 3 web hosts)")
    url, token = bring_up()
    say(f"the controller serves git, pipelines, API and the status page at {url}")
    tree = make_repository(url, token)
    say("git push: the pipeline builds, tests and packages it; it goes through the environments")
    run("git", "push", "-q", "origin", "main", cwd=tree)
    urls = addresses()
    before = certified_in_prod()
    first = title(urls["prod"])
    say(f"load on prod's front door: {CACHEABLE_RATE:g} requests/s cacheable, {PAST_CACHE_RATE:g}/s past the cache; and a second push")
    load = start_load(urls["prod"])
    try:
        change(tree)
        run("git", "push", "-q", "origin", "main", cwd=tree)
        if certified_in_prod() == before:
            sys.exit("the second push changed nothing in prod")
        second = new_title(urls["prod"], first)
    finally:
        seen = stop_load(load)
    say("the receipt of the second rollout in prod")
    run(MANOR, "receipt", "warehouse", "-e", "prod")
    return conclude(seen, first, second, urls, url, token)


def conclude(seen: ProbeResult, first: str, second: str, urls: dict[str, str], controller: str, token: str) -> int:
    """Print what came of it, and how to go on."""
    receipt = newest_receipt()
    lost = seen.lost + int(receipt["probe"]["lost"])
    say(f"lost {lost}")
    probe = receipt["probe"]
    print(f"  load: {seen.sent} requests sent, {seen.lost} lost, p99 {seen.latency.p99 * 1000:.0f} ms")
    print(f"  the rollout's own probe: {probe['sent']} sent, {probe['lost']} lost")
    print(f"  prod served {first!r}, now {second!r}")
    for line in loss_lines(seen.losses):
        print(line)
    print("\n  open (the certificate is signed by this state folder's own authority):")
    for environment, address in urls.items():
        print(f"    {environment:<6} {address}")
    print(f"    page   {controller}   token {token}")
    print(f"    curl --cacert {STATE / 'ca' / 'authority.pem'} {urls['prod']}")
    print("\n  stop and remove everything: make demo-down")
    return 1 if lost or first == second else 0


def down(*, quiet: bool = False) -> int:
    """Stop and remove everything."""
    if STATE.exists():
        run(MANOR, "down", "--purge", quiet=quiet)
    return 0


if __name__ == "__main__":
    sys.exit({"up": up, "down": down}[sys.argv[1]]())
