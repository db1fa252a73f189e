"""The whole path on this machine: four environments up, a push built, tested and shipped to prod, and a second one under load.

Usage: python examples/acme-health/demo.py up|down   (`make demo`, `make demo-down`)

Exits 1 and prints every lost request, of the load and of the rollout's own probe, if there is one; also if the second push did not get through, or if
not all of it was measured. All it makes is in `.manor/state` beside this file, but for a line in the
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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manor.observe.probe.model import Loss, ProbeConfig, Target
from manor.observe.probe.results import Recording, read_results
from manor.observe.probe.summary import ProbeResult, summarize
from manor.observe.window import Window
from manor.rollout.receipt import Receipt, parse_receipt, probe_gaps
from manor.rollout.spans import ProbeSpan

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


@dataclass(frozen=True)
class Load:
    """What became of the load on prod's front door."""

    seen: ProbeResult
    gaps: tuple[str, ...] = ()
    """Why it did not measure all the time."""


def run(*words: str | Path, cwd: Path = HERE, quiet: bool = False, must_work: bool = True) -> str:
    """Run a command, show what it prints unless quiet, and end the demo if it fails and must not. A token is returned and never shown."""
    with subprocess.Popen(list(map(str, words)), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if not quiet:
                print(f"  {masked(line)}", end="", flush=True)
    if process.returncode and must_work:
        sys.exit(masked(f"{' '.join(map(str, words))}: exit code {process.returncode}\n{''.join(lines) if quiet else ''}"))
    return "".join(lines)


def objects(*words: str) -> list[dict[str, Any]]:
    """Return what a verb says as JSON, object by object; what it says beside is passed over."""
    return [json.loads(line) for line in run(MANOR, *words, "--json", quiet=True).splitlines() if line.startswith("{")]


def masked(text: str) -> str:
    """Return the text without tokens."""
    return TOKEN.sub("***", text)


def bring_up() -> tuple[str, str]:
    """Bring every environment and the controller up; return the controller's URL and the first admin token."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    WORK.mkdir(exist_ok=True)
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
    return {row["environment"]: row["urls"]["warehouse"] for row in objects("up") if row["event"] == "result" and "urls" in row}


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


def stop_load(process: subprocess.Popen[bytes]) -> Load:
    """End the load and return what became of it."""
    told_at = time.time()
    (WORK / "load.stop").touch()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    results, config = WORK / "load.jsonl", ProbeConfig.model_validate_json((WORK / "load.json").read_text())
    recording = read_results(results) if results.exists() else Recording(config, (), 0, 0, ended=False, last_seen=0.0)
    return load_of(recording, told_at)


def load_of(recording: Recording, told_at: float) -> Load:
    """Return what a recording says of the load that was told to end at `told_at`, and what it lacks."""
    moments = [outcome.due for outcome in recording.outcomes]
    if not moments:
        return Load(summarize((), recording.config, Window(0.0, told_at)), ("nothing was sent",))
    seen = summarize(recording.outcomes, recording.config, Window(min(moments), max(moments) + 1e-6))
    return Load(seen, probe_gaps(recording, ProbeSpan(Window(min(moments), max(told_at, min(moments))))))


def title(url: str) -> str:
    """Return the title of a page, asked for with curl."""
    page = run("curl", "-sS", "--cacert", STATE / "ca" / "authority.pem", url, quiet=True, must_work=False)
    return page.partition("<title>")[2].partition("</title>")[0].strip()


def new_title(url: str, old: str) -> str:
    """Return the title once it is another: the cache may show the old page for its few seconds (`ttl`) and once more while it fetches the new one."""
    limit = time.monotonic() + CACHE_SECONDS
    while (found := title(url)) == old and time.monotonic() < limit:
        time.sleep(0.5)
    return found


def require_certified_in_prod() -> None:
    """End the demo if the first push did not get through."""
    services = objects("status", "-e", "prod")[-1]["services"]
    if not next(service["certified"] for service in services if service["name"] == "warehouse"):
        sys.exit("the push did not reach prod; its run says why above")


def receipts_listed() -> dict[str, str]:
    """Return the environment of each rollout that has a receipt, by operation, newest first."""
    return {row["operation"]: row["environment"] for row in objects("receipt", "--limit", "1000")[-1]["receipts"]}


def newest_since(known: Iterable[str]) -> str:
    """Return the operation that a push led to, in prod if it came that far, else where it came to; empty: it led to none."""
    before = set(known)
    new = {operation: environment for operation, environment in receipts_listed().items() if operation not in before}
    return next((operation for operation, environment in new.items() if environment == "prod"), next(iter(new), ""))


def read_receipt(operation: str) -> Receipt:
    """Return a receipt with all its losses."""
    return parse_receipt(json.dumps(objects("receipt", operation)[-1]["receipt"]))


def loss_lines(losses: Iterable[Loss]) -> Iterator[str]:
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
    require_certified_in_prod()
    first, known = title(urls["prod"]), receipts_listed()
    say(f"load on prod's front door: {CACHEABLE_RATE:g} requests/s cacheable, {PAST_CACHE_RATE:g}/s past the cache; and a second push")
    load = start_load(urls["prod"])
    try:
        change(tree)
        run("git", "push", "-q", "origin", "main", cwd=tree, must_work=False)
        second = new_title(urls["prod"], first)
    finally:
        show_load(seen := stop_load(load))
    code = conclude(seen, show_receipt(newest_since(known)), first, second)
    say_how_to_go_on(urls, url, token)
    return code


def show_load(load: Load) -> None:
    """Print what became of the load, with every lost request."""
    seen = load.seen
    say("the load on prod's front door")
    p99 = f", p99 {seen.latency.p99 * 1000:.0f} ms" if seen.sent > seen.lost else ""
    print(f"  {seen.sent} requests sent, {seen.lost} lost{p99}")
    for line in (*(f"  NOT MEASURED: {gap}" for gap in load.gaps), *loss_lines(seen.losses)):
        print(line)


def show_receipt(operation: str) -> Receipt | None:
    """Print the receipt of the rollout that the second push led to, with every lost request, and return it."""
    if not operation:
        return None
    receipt = read_receipt(operation)
    say(f"the receipt of the second rollout in {receipt.environment}")
    run(MANOR, "receipt", operation, "--all-losses")
    return receipt


def conclude(load: Load, receipt: Receipt | None, first: str, second: str) -> int:
    """Print what came of the second push; return 1 if anything was lost, not measured, or did not get through."""
    found = [*load_faults(load), *rollout_faults(receipt), *([] if second not in ("", first) else [f"prod served {first!r}, and now {second!r}"])]
    say(f"lost {load.seen.lost + (receipt.probe.lost if receipt else 0)}{', but see below' if found else ''}")
    print(f"  load: {load.seen.sent} requests sent, {load.seen.lost} lost")
    if receipt:
        print(f"  the rollout's own probe: {receipt.probe.sent} sent, {receipt.probe.lost} lost")
    print(f"  prod served {first!r}, now {second!r}")
    for line in (*(f"  NOT AS IT SHOULD BE: {fault}" for fault in found), *(loss_lines(receipt.probe.losses) if receipt else ())):
        print(line)
    return 1 if found else 0


def load_faults(load: Load) -> Iterator[str]:
    """Yield what the load says against the rollout, or against itself."""
    if load.seen.lost:
        yield f"the load lost {load.seen.lost} of {load.seen.sent} requests; they are listed above"
    yield from (f"the load did not measure all the time: {gap}" for gap in load.gaps)


def rollout_faults(receipt: Receipt | None) -> Iterator[str]:
    """Yield what the receipt says against the rollout."""
    if receipt is None:
        yield "the second push led to no rollout; its run says why above"
        return
    if receipt.environment != "prod":
        yield f"the second push did not reach prod; it ended in {receipt.environment}"
    if receipt.state != "certified":
        yield f"the rollout in {receipt.environment} ended {receipt.state.replace('_', ' ')}"
    if receipt.probe.lost:
        yield f"the rollout's own probe lost {receipt.probe.lost} of {receipt.probe.sent} requests"
    if not receipt.probe.has_evidence:
        yield "the rollout was not probed: nothing shows whether requests were lost"
    elif not receipt.probe.is_whole:
        yield f"the rollout's own probe did not measure to its end: {'; '.join(receipt.probe.incomplete)}"


def say_how_to_go_on(urls: dict[str, str], controller: str, token: str) -> None:
    """Print where everything is, and how it is removed."""
    print("\n  open (the certificate is signed by this state folder's own authority):")
    for environment, address in urls.items():
        print(f"    {environment:<6} {address}")
    print(f"    page   {controller}   token {token}")
    print(f"    curl --cacert {STATE / 'ca' / 'authority.pem'} {urls['prod']}")
    print("\n  stop and remove everything: make demo-down")


def down(*, quiet: bool = False) -> int:
    """Stop and remove everything."""
    if STATE.exists():
        run(MANOR, "down", "--purge", quiet=quiet)
    return 0


if __name__ == "__main__":
    sys.exit({"up": up, "down": down}[sys.argv[1]]())
