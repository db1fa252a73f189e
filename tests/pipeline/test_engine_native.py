"""Real steps from a checked-out tree to an artifact."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from manor.pipeline.log import follow_log
from manor.pipeline.requests import cancel_run, rerun
from manor.state.words import RunState
from tests.pipeline.bench import Bench

pytestmark = pytest.mark.native

WHOLE = """
    steps:
      build:
        run:
          - echo building $MANOR_SERVICE
          - mkdir site && cp page.html site/
        outputs: [site]
      test:
        test: |
          mkdir reports
          grep -q hello site/page.html
          echo '<testsuite><testcase classname="page" name="says_hello" time="0.1"/></testsuite>' > reports/junit.xml
        junit: reports/*.xml
      package:
        artifact: {include: site, from: site}
    """


async def test_from_a_tree_to_an_artifact(bench: Bench) -> None:
    bench.pipeline(WHOLE.replace("include: site, ", ""), page__html="hello")
    run = await bench.go()
    assert (run.state, bench.states(run)) == (RunState.PASSED, {"build": "passed", "test": "passed", "package": "passed"}), bench.rows(run)
    assert bench.log(run, "build") == "building warehouse\n"
    assert (bench.store.folder.artifacts / f"{run.artifact}.tar").is_file()
    tests = bench.result(run, "test").tests
    assert tests is not None
    assert (tests.tests, tests.failed) == (1, 0)


async def test_a_failing_step_fails_the_run_and_what_needs_it_is_skipped(bench: Bench) -> None:
    bench.pipeline("""
        steps:
          build: {run: "echo no luck >&2; exit 3"}
          beside: {run: "echo fine", needs: []}
          package: {artifact: {}, needs: [build]}
    """)
    run = await bench.go()
    assert run.state is RunState.FAILED
    assert run.summary == "build: ended with code 3"
    assert bench.states(run) == {"build": "failed", "beside": "passed", "package": "skipped"}
    assert bench.log(run, "build") == "no luck\n"
    assert bench.result(run, "package").summary == "build did not pass"


async def test_the_environment_is_small_and_holds_nothing_of_the_controller(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    bench.pipeline("steps: {look: {run: env | sort, env: {TIER: blue}}}")
    run = await bench.go()
    names = {line.partition("=")[0] for line in bench.log(run, "look").splitlines()}
    ours = {"HOME", "LANG", "MANOR_CACHE", "MANOR_COMMIT", "MANOR_REF", "MANOR_RUN", "MANOR_SERVICE", "PATH", "SOURCE_DATE_EPOCH", "TMPDIR", "TIER"}
    assert names - {"LOGNAME", "MANOR_DETACHED", "OLDPWD", "PWD", "TZ", "USER", "_"} == ours


async def test_at_the_time_out_the_whole_tree_of_processes_is_ended(bench: Bench) -> None:
    bench.pipeline("""
        steps:
          hang:
            run: |
              setsid sleep 300 &
              echo $! > pids
              sleep 300 & echo $! >> pids
              wait
            timeout: 500ms
    """)
    run = await bench.go()
    assert run.state is RunState.TIMED_OUT
    assert run.summary == "hang: was not done after 0.5 s and was ended with all it started"
    pids = (bench.store.folder.runs / run.id / "hang" / "1" / "workspace" / "pids").read_text().split()
    assert len(pids) == 2
    assert [pid for pid in pids if is_running(pid)] == []


async def test_what_a_step_leaves_in_the_background_is_ended_with_it(bench: Bench) -> None:
    bench.pipeline("steps: {leave: {run: 'sleep 300 & echo $! > ${MANOR_CACHE}/pid'}}")
    run = await bench.go()
    assert run.state is RunState.PASSED
    assert not is_running((bench.store.folder.runs / ".cache" / "warehouse" / "pid").read_text().strip())


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_cancelled_run_ends_its_steps(bench: Bench) -> None:
    bench.pipeline("steps: {hang: {run: 'echo begun; sleep 300'}, after: {run: 'true'}}")
    run = await bench.add()
    going = asyncio.create_task(bench.go(run))
    async with asyncio.timeout(20):
        async for chunk in follow_log(bench.store, run.id):
            assert chunk.content == b"begun\n"
            await cancel_run(bench.store, run.id, "anna")
    ended = await asyncio.wait_for(going, 20)
    assert (ended.state, ended.summary) == (RunState.CANCELLED, "cancelled by anna")
    assert bench.states(run) == {"hang": "cancelled", "after": "skipped"}


async def test_branches_go_side_by_side_and_their_logs_are_followed_while_they_grow(bench: Bench) -> None:
    meet = "touch $MANOR_CACHE/{0}; for i in $(seq 100); do [ -e $MANOR_CACHE/{1} ] && echo met && exit 0; sleep 0.05; done; exit 1"
    bench.pipeline(f"steps: {{left: {{run: '{meet.format('l', 'r')}'}}, right: {{run: '{meet.format('r', 'l')}', needs: []}}}}")
    run = await bench.add()
    going = asyncio.create_task(bench.go(run))
    said = [(chunk.step, chunk.content) async for chunk in follow_log(bench.store, run.id)]
    assert (await going).state is RunState.PASSED
    assert sorted(said) == [("left", b"met\n"), ("right", b"met\n")]


async def test_steps_see_what_steps_before_declared_and_nothing_else(bench: Bench) -> None:
    bench.pipeline("""
        steps:
          make: {run: "echo 1 > kept; echo 2 > dropped", outputs: kept}
          use: {run: "cat kept; ls"}
    """)
    run = await bench.go()
    assert bench.log(run, "use") == "1\nkept\n"


async def test_an_output_that_is_not_there_fails_the_step(bench: Bench) -> None:
    bench.pipeline("steps: {make: {run: 'true', outputs: [lib]}}")
    run = await bench.go()
    assert run.summary == "make: outputs[0]: the step left nothing that matches lib"


async def test_what_passed_is_not_done_again(bench: Bench) -> None:
    bench.pipeline(
        """
        steps:
          install: {run: "echo x >> $MANOR_CACHE/installs; cp needs.txt lib", inputs: needs.txt, outputs: lib}
          build: {run: "echo x >> $MANOR_CACHE/builds; cat lib"}
    """,
        needs__txt="a",
    )
    first = await bench.go()
    bench.pipeline((bench.repository / ".manor" / "pipeline.yaml").read_text(), other__txt="changed")
    second = await bench.go(await bench.add(commit="2" * 40))
    same = await bench.go(await bench.add(ref="refs/heads/release", commit="2" * 40))
    cache = bench.store.folder.runs / ".cache" / "warehouse"
    assert {run.state for run in (first, second, same)} == {RunState.PASSED}
    assert ((cache / "installs").read_text(), (cache / "builds").read_text()) == ("x\n", "x\nx\n")
    assert bench.result(second, "install").reused == first.id
    assert bench.log(same, "build") == "a"


async def test_a_failed_run_goes_on_from_the_step_that_failed(bench: Bench) -> None:
    bench.pipeline("""
        steps:
          build: {run: "echo x >> $MANOR_CACHE/builds; echo built > out", outputs: out}
          flaky: {run: "test -e $MANOR_CACHE/mended"}
          pack: {artifact: {include: out}, needs: [build, flaky]}
    """)
    run = await bench.go()
    assert run.state is RunState.FAILED
    cache = bench.store.folder.runs / ".cache" / "warehouse"
    (cache / "mended").touch()
    again = await bench.go(await rerun(bench.store, run.id, "anna"))
    assert again.state is RunState.PASSED, again.summary
    assert (cache / "builds").read_text() == "x\n"
    assert (bench.rows(run)["flaky"].attempt, bench.rows(run)["build"].attempt) == (2, 1)

    forced = await bench.go(await rerun(bench.store, run.id, "anna", from_step="build"))
    assert forced.artifact == again.artifact
    assert (cache / "builds").read_text() == "x\nx\n"


async def test_pytest_reports(bench: Bench) -> None:
    bench.pipeline(
        f"steps: {{test: {{test: '{sys.executable} -m pytest -q -p no:cacheprovider --junitxml=r.xml test_it.py', junit: r.xml}}}}", test_it__py=TESTS
    )
    run = await bench.go()
    assert run.summary == "test: 3 tests, 1 failed, 1 skipped; first: test_it.test_wrong"
    tests = bench.result(run, "test").tests
    assert tests is not None
    assert tests.failures[0][0] == "test_it.test_wrong"
    assert "assert 1 == 2" in tests.failures[0][1]


TESTS = """
import pytest
def test_right(): pass
def test_wrong(): assert 1 == 2
@pytest.mark.skip
def test_later(): pass
"""


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("true", "test: junit: no report matches r.xml; have the test program write one, e.g. pytest --junitxml"),
        ("exit 2", "test: ended with code 2; junit: no report matches r.xml; have the test program write one, e.g. pytest --junitxml"),
        ("echo oops > r.xml", "test: junit: r.xml: is not XML: syntax error: line 1, column 0"),
        ("echo '<testsuite/>' > r.xml", "test: junit: the report holds no test; an empty run proves nothing"),
        ("echo '<testsuite><testcase name=\"a\"/></testsuite>' > r.xml; exit 9", "test: ended with code 9"),
        ("mkfifo x.pipe; ln -s /etc/passwd r.xml", "test: junit: no report matches r.xml; have the test program write one, e.g. pytest --junitxml"),
    ],
)
async def test_a_test_step_without_a_good_report_fails(bench: Bench, command: str, says: str) -> None:
    bench.pipeline("steps: {test: {test: CMD, junit: r.xml}}".replace("CMD", json.dumps(command)))
    run = await bench.go()
    assert (run.state, run.summary) == (RunState.FAILED, says)


async def test_a_step_whose_wrapper_was_killed_is_done_again_at_most_twice(bench: Bench) -> None:
    bench.pipeline("steps: {die: {run: 'echo x >> $MANOR_CACHE/tries; kill -9 $(cat ../pid | head -1 | cut -d\" \" -f1); sleep 0.2; kill -9 $PPID $$'}}")
    run = await asyncio.wait_for(bench.go(), 60)
    assert run.state is RunState.FAILED
    assert "without an exit code" in run.summary
    assert bench.rows(run)["die"].attempt == 3


async def test_a_commit_without_a_pipeline_says_what_to_do(bench: Bench) -> None:
    bench.pipeline("steps: {a: {run: 'true'}}")
    (bench.repository / ".manor" / "pipeline.yaml").unlink()
    run = await bench.go()
    assert run.state is RunState.FAILED
    assert run.summary.startswith(".manor/pipeline.yaml:1: is not there as a file; add one with steps")
