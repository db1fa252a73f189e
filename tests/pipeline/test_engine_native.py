"""Real steps from a checked-out tree to an artifact."""

from __future__ import annotations

import pytest

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
