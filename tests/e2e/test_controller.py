"""From a push to production through `manor serve`, which is killed at every stage of it, and everything acknowledged is delivered once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from manor.state import deliveries
from manor.state.deliveries import Delivery
from manor.state.store import Store
from tests.e2e.controlled import DELIVERY_SECONDS, Controlled, end_push
from tests.e2e.estates import LiveEstate, curl, end, wait_until
from tests.e2e.killing import DECISION_SECONDS, seconds_without_a_core
from tests.e2e.orphans import Process, every_process
from tests.e2e.watching import processes_of, target, watched

ESTATE = """\
estate: pushed
domain: pushed.example
services:
  shop:
    repository: shop
    run: {command: "python3 -m echo --bind {address}:{port} --keep-alive 75", port: 8300, keep_alive: 75s}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: shop}]
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 500ms, instance_deadline: 60s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  dev: {}
  prod: {after: dev, gates: [tests], hosts: {edge: 1, web: 1}}
"""
PATIENCE_SECONDS = 60.0
"""For what the controller does by itself within some seconds; nothing is claimed of how long it takes."""

OTHER = """\
  other:
    repository: other
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8310}
    health: {http: /healthz}
    routes: [{host: other}]
"""


@pytest.fixture(scope="module")
def served(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    """The estate with its controller, and one version that was pushed and delivered."""
    estate = make_estate(ESTATE)
    estate.up()
    controlled = Controlled(estate, tmp_path_factory.mktemp("work") / "shop", echo)
    try:
        controlled.start()
        controlled.make_tree()
        first = controlled.commit()
        controlled.push()
        controlled.delivered(first)
        yield controlled
    finally:
        controlled.close()


@pytest.fixture(autouse=True)
def running(served: Controlled) -> None:
    """Have the controller run when a test begins."""
    if served.is_gone:
        served.start()


def api(served: Controlled, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Ask the API as any script would."""
    words = ["curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {served.token}", *options, f"{served.url}/api/v1{path}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=DELIVERY_SECONDS, check=False)


def test_a_push_goes_through_to_prod_and_is_shown(served: Controlled) -> None:
    commit = served.commit()
    said = served.push().stderr
    for expected in ("remote: · build", "remote: · test: passed", "remote: · package: passed", "certified, lost 0 of "):
        assert expected in said, said
    served.delivered(commit)
    status = json.loads(api(served, "/status").stdout)
    states = {one["name"]: [(service["name"], service["state"]) for service in one["services"]] for one in status["environments"]}
    assert states == {"dev": [("shop", "certified")], "prod": [("shop", "certified")]}
    run = served.runs_of(commit)[0]
    log = api(served, f"/runs/{run.id}/log").stdout
    assert "certified, lost 0 of " in log
    events = [json.loads(line) for line in api(served, f"/operations/{served.operations('prod')[-1].id}/events").stdout.splitlines() if line]
    assert events[-1]["event"] == "ended"
    assert {"place", "admit", "certify"} <= {event.get("kind") for event in events}
    assert served.release_of(run) in page(served)


def page(served: Controlled) -> str:
    """Return the status page as somebody who has logged in sees it."""
    jar = served.estate.folder / "cookies"
    base = ["curl", "-sS", "-b", str(jar), "-c", str(jar)]
    form = subprocess.run([*base, f"{served.url}/login"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert "token" in form
    fields = ["--data-urlencode", f"token={served.token}"]
    subprocess.run([*base, "-H", f"Origin: {served.url}", *fields, f"{served.url}/login"], capture_output=True, text=True, timeout=30, check=True)
    return subprocess.run([*base, f"{served.url}/"], capture_output=True, text=True, timeout=30, check=True).stdout


def test_failing_tests_stop_it_at_the_gate(served: Controlled) -> None:
    before = [len(served.operations(name)) for name in ("dev", "prod")]
    commit = served.commit(fails=True)
    said = served.push().stderr
    assert "test: failed" in said
    assert [run.state for run in served.runs_of(commit)] == ["failed"]
    assert [len(served.operations(name)) for name in ("dev", "prod")] == before


def kill_within_the_push(served: Controlled, commit: str) -> str:
    """Kill the controller as soon as the ref has moved: the hook that tells it is about to start."""
    ref = served.folder / "repositories" / "shop.git" / "refs" / "heads" / "main"
    push = served.push_in_background()
    wait_until(lambda: ref.exists() and ref.read_text().strip() == commit, 30, "the ref")
    served.kill()
    end_push(push)
    return ""


def kill_within_a_step(served: Controlled, commit: str) -> str:
    """Kill it while the build sleeps."""
    push = served.push_in_background()
    begun = served.estate.folder / "ledger" / "begun"
    wait_until(lambda: begun.exists() and commit in begun.read_text(), 30, "the build")
    served.kill()
    end_push(push)
    return ""


def kill_within_a_rollout(environment: str) -> Callable[[Controlled, str], str]:
    """Return what kills it in the middle of a rollout in an environment."""

    def kill(served: Controlled, commit: str) -> str:
        known = len(served.operations(environment))
        push = served.push_in_background()
        operation = served.wait_for_operation(environment, known, lambda one: one.phase in {"warming", "admitting", "draining", "stopping"})
        served.kill()
        end_push(push)
        return operation.id

    return kill


MOMENTS = {"push": kill_within_the_push, "step": kill_within_a_step, "dev": kill_within_a_rollout("dev"), "prod": kill_within_a_rollout("prod")}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_controller_loses_no_push(served: Controlled, moment: str) -> None:
    commit = served.commit(pause=2 if moment == "step" else 0)
    operation = MOMENTS[moment](served, commit)
    known, began = served.events(operation) if operation else 0, time.monotonic()
    served.start()
    wait_until(lambda: served.events(operation) > known if operation else served.runs_of(commit), 60, "a decision")
    took = time.monotonic() - began
    assert served.process
    assert took - seconds_without_a_core(served.process.pid) < DECISION_SECONDS, took
    served.delivered(commit)


def below(pid: int) -> list[Process]:
    """Return the processes that a process started, and those that they started."""
    everything = list(every_process())
    found, known = [], {pid}
    while more := [process for process in everything if process.parent in known and process.pid not in known]:
        found += more
        known |= {process.pid for process in more}
    return found


def test_a_killed_git_backend_loses_no_push(served: Controlled) -> None:
    """It is killed while it tells the pusher how the run goes: the push has gone through, and so does the run."""
    commit = served.commit(pause=2)
    push = served.push_in_background()
    begun = served.estate.folder / "ledger" / "begun"
    wait_until(lambda: begun.exists() and commit in begun.read_text(), 30, "the build")
    assert served.process
    backends = [process.pid for process in below(served.process.pid) if process.words.startswith("git ") or "post-receive" in process.words]
    assert backends
    for pid in backends:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    said = end_push(push)
    assert f"remote: main {commit[:12]}: run " in said, said
    assert "certified" not in said, "it was killed before"
    served.delivered(commit)


def test_a_step_whose_wrapper_is_killed_is_done_again(served: Controlled) -> None:
    before = served.estate.certified("prod", "shop")
    door = served.estate.front("prod", "shop")
    commit = served.commit(pause=2)
    push = served.push_in_background()
    begun = served.estate.folder / "ledger" / "begun"
    wait_until(lambda: begun.exists() and commit in begun.read_text(), 30, "the build")
    try:
        killed = processes_of(served.folder / "runs")
        assert killed
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert json.loads(curl(served.estate, *door, "/").stdout)["release"] == before
        out, _ = push.communicate(timeout=DELIVERY_SECONDS)
        assert push.returncode == 0, out
    finally:
        end(push)
    assert "certified, lost 0 of " in out, out
    served.delivered(commit)
    assert begun.read_text().split().count(commit) == 2


@pytest.mark.parametrize("branch", ["$(reboot)", "a;b", "`id`"])
def test_a_branch_name_that_a_shell_would_run_is_refused(served: Controlled, tmp_path: Path, branch: str) -> None:
    door, before = served.estate.front("prod", "shop"), served.estate.certified("prod", "shop")
    with watched(tmp_path, [target(served.estate, door, "/watched", 25)]) as watcher:
        began = time.time()
        done = served.git("push", served.remote(), f"HEAD:refs/heads/{branch}", ok=False)
        assert watcher.losses(began) == []
    assert done.returncode == 1
    assert f"refused: 'refs/heads/{branch}': not a name for a branch" in done.stderr
    assert f"refs/heads/{branch}" not in served.git("ls-remote", served.remote()).stdout
    assert json.loads(curl(served.estate, *door, "/").stdout)["release"] == served.estate.certified("prod", "shop") == before
    assert json.loads(api(served, "/health").stdout)["status"] == "ok"


def test_a_run_is_cancelled_done_again_and_read_beside_the_controller(served: Controlled) -> None:
    before, commit = served.estate.certified("prod", "shop"), served.commit(pause=8)
    served.push("-o", "detach")
    begun = served.estate.folder / "ledger" / "begun"
    wait_until(lambda: begun.exists() and commit in begun.read_text(), 30, "the build")
    run = served.runs_of(commit)[0].id
    (cancelled,) = served.estate.results("run", "cancel", run)
    assert (cancelled["id"], cancelled["state"]) == (run, "cancelled")
    wait_until(lambda: not processes_of(served.folder / "runs"), 10, "the end of its steps")
    assert "cancelled" in served.estate.run("run", "log", run).stdout
    assert commit not in (served.estate.folder / "ledger" / "built").read_text()
    refused = served.estate.run("run", "cancel", run, ok=(2,))
    assert "has ended" in refused.stderr
    assert served.estate.certified("prod", "shop") == before
    (again,) = served.estate.results("run", "again", run)
    assert (again["id"], again["state"]) == (run, "waiting")
    log = served.estate.start("run", "log", run)
    try:
        told, _ = log.communicate(timeout=DELIVERY_SECONDS)
        assert (log.returncode, "certified, lost 0 of " in told) == (0, True), told
    finally:
        end(log)
    served.delivered(commit)
    assert begun.read_text().split().count(commit) == 2
    shown = served.estate.run("run", run).stdout
    assert " passed " in shown
    assert served.release_of(served.runs_of(commit)[0]) == served.estate.certified("prod", "shop") != before


def test_two_pushes_in_quick_succession_both_arrive(served: Controlled) -> None:
    first = served.commit()
    served.push("-o", "detach")
    second = served.commit()
    served.push("-o", "detach")
    for commit in (first, second):
        served.delivered(commit)
    assert served.estate.certified("prod", "shop") == served.release_of(served.runs_of(second)[0])


def packed(folder: Path, echo: Path, version: str) -> Path:
    """Pack what another CI has built."""
    (folder / "VERSION").write_text(version)
    with tarfile.open(folder / "shop.tar", "w") as archive:
        for file in (echo / "lib", echo / "echo.py", folder / "VERSION"):
            archive.add(file, file.name)
    return folder / "shop.tar"


REPORT = '<testsuite><testcase classname="shop" name="answers"/></testsuite>'


def hand_in(served: Controlled, file: Path, *, report: str = REPORT) -> dict[str, str]:
    """Hand an artifact and the report of its tests in with one curl; return the operation that answers."""
    (file.parent / "report.xml").write_text(report)
    form = ("-F", f"artifact=@{file}", "-F", f"junit=@{file.parent / 'report.xml'}")
    done = api(served, "/services/shop/artifacts?commit=c0ffee&build_url=https://jenkins.example/job/7", *form)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def open_deliveries(served: Controlled) -> tuple[Delivery, ...]:
    """Return what is not delivered yet."""
    with Store.open(served.folder) as store:
        return store.read_now(deliveries.unfinished)


def require_handed_in(served: Controlled, operation: str) -> None:
    """Wait until what was handed in is delivered, and hold that it is the same everywhere, brought once."""
    wait_until(lambda: not open_deliveries(served), DELIVERY_SECONDS, "the delivery")
    in_dev, in_prod = served.operations("dev")[-1], served.operations("prod")[-1]
    assert in_dev.id == operation
    assert (in_dev.state, in_prod.state) == ("done", "done")
    assert served.release_in(in_dev) == served.release_in(in_prod) == served.estate.certified("prod", "shop")


def test_an_existing_ci_ships_with_curl(served: Controlled, tmp_path: Path, echo: Path) -> None:
    file = packed(tmp_path, echo, "from elsewhere")
    operation = hand_in(served, file)
    assert (operation["environment"], operation["service"], operation["verb"]) == ("dev", "shop", "ship")
    require_handed_in(served, operation["id"])
    assert hand_in(served, file)["id"] == operation["id"], "the same artifact was rolled out twice"
    refused = api(served, "/services/unknown/artifacts", "-X", "POST", "-T", str(file))
    assert "there is no service 'unknown'" in refused.stdout


def test_without_a_report_that_passed_it_stops_before_the_gate(served: Controlled, tmp_path: Path, echo: Path) -> None:
    before, known = served.estate.certified("prod", "shop"), len(served.operations("prod"))
    refused = api(served, "/services/shop/artifacts", "-F", f"artifact=@{packed(tmp_path, echo, 'refused')}", "-F", "junit=@/dev/null")
    assert "junit: the report is empty" in refused.stdout, refused.stdout + refused.stderr
    failed = hand_in(served, packed(tmp_path, echo, "failed"), report=REPORT.replace("/></testsuite>", "><failure/></testcase></testsuite>"))
    wait_until(lambda: not open_deliveries(served), DELIVERY_SECONDS, "the delivery")
    bare = api(served, "/services/shop/artifacts", "-X", "POST", "-T", str(packed(tmp_path, echo, "bare")))
    assert bare.returncode == 0, bare.stdout + bare.stderr
    wait_until(lambda: not open_deliveries(served), DELIVERY_SECONDS, "the delivery")
    in_dev = served.operations("dev")
    assert [one.id for one in in_dev[-2:]] == [failed["id"], json.loads(bare.stdout)["id"]]
    assert [one.state for one in in_dev[-2:]] == ["done", "done"]
    assert (served.estate.certified("prod", "shop"), len(served.operations("prod"))) == (before, known)


def test_a_killed_controller_loses_no_hand_in(served: Controlled, tmp_path: Path, echo: Path) -> None:
    operation = hand_in(served, packed(tmp_path, echo, "from elsewhere, and killed"))
    served.kill()
    served.start()
    require_handed_in(served, operation["id"])


def test_a_killed_supervisor_is_started_again(served: Controlled) -> None:
    host = served.estate.host_folder("prod", "web-1")
    supervisor = next(pid for pid, words in processes_of(host).items() if "supervisord" in words)
    os.kill(supervisor, signal.SIGKILL)

    def revived() -> bool:
        return any("supervisord" in words for pid, words in processes_of(host).items() if pid != supervisor)

    wait_until(revived, PATIENCE_SECONDS, "another supervisord")
    door = served.estate.front("prod", "shop")
    wait_until(lambda: curl(served.estate, *door, "/").returncode == 0, 30, "the service")
    commit = served.commit()
    served.push()
    served.delivered(commit)


def test_a_changed_estate_is_taken_over_and_a_wrong_one_is_not(served: Controlled) -> None:
    def shown() -> set[str]:
        environments = json.loads(api(served, "/status").stdout)["environments"]
        return {service["name"] for one in environments for service in one["services"]}

    another = ESTATE.replace("traffic:", OTHER + "traffic:")
    try:
        served.estate.write(another)
        wait_until(lambda: (served.folder / "repositories" / "other.git" / "HEAD").exists(), PATIENCE_SECONDS, "the repository of the new service")
        wait_until(lambda: "other" in shown(), PATIENCE_SECONDS, "the new service on the status page")
        served.estate.write(another + "nonsense: true\n")
        wait_until(lambda: "the estate is not taken over" in served.log.read_text(), PATIENCE_SECONDS, "the complaint")
        assert "other" in shown()
    finally:
        served.estate.write(ESTATE)
    wait_until(lambda: "other" not in shown(), PATIENCE_SECONDS, "the former estate")


def lasting(served: Controlled) -> set[int]:
    """Return the processes that have to outlive the controller."""
    found = processes_of(served.folder / "hosts")
    return {pid for pid, words in found.items() if any(word in words for word in ("supervisord", "-m echo", "haproxy", "nginx: master"))}


def test_it_ends_in_order_and_programs_go_on(served: Controlled) -> None:
    door, before = served.estate.front("prod", "shop"), lasting(served)
    assert served.stop() == 0, served.log.read_text()[-2000:]
    assert curl(served.estate, *door, "/").returncode == 0
    assert before
    assert lasting(served) == before
    assert not (served.folder / "controller.json").exists()
