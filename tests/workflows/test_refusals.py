"""What products refuse to render is told all at once, with file, line and a way out; the machine is not asked for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manor.errors import InvalidEstate, UsageError
from manor.execution import machine
from manor.workflows.check import check_offline
from manor.workflows.context import open_context
from manor.workflows.refusals import key_path
from tests.workflows.conftest import ESTATE

CHAIN = """\
traffic:
  chain:
    - {router: traefik}
    - {balancer: traefik}
    - {web: nginx}
"""
REFUSED = ESTATE.replace("environments:", f"{CHAIN}environments:")
TRACE = "estate.yaml:10: traffic.chain[1]: traefik cannot turn a trace id into a request id; put another product after the first tier"


@pytest.fixture
def file(alone: Path) -> Path:
    """Lies in a folder that nginx cannot name."""
    path = alone / "a$b" / "estate.yaml"
    path.parent.mkdir()
    path.write_text(REFUSED)
    return path


def test_every_product_is_asked_and_every_refusal_has_its_line(file: Path) -> None:
    with pytest.raises(InvalidEstate) as error:
        check_offline(file, ())
    told = error.value.problems
    assert told[0] == TRACE
    assert {re.sub(r"'.*?'", "PATH", problem) for problem in told[1:]} == {
        "estate.yaml:11: traffic.chain[2]: nginx: PATH has a dollar sign, which its paths can't have; "
        "move the estate, or its state with MANOR_STATE, to a folder without one"
    }
    assert sorted(path.name for path in file.parent.iterdir()) == ["estate.yaml"]
    assert not machine.machine_file().exists()


def test_verbs_that_render_tell_the_same(file: Path) -> None:
    with open_context(file, dry_run=True) as context, pytest.raises(InvalidEstate) as error:
        context.desired(context.wiring("dev"))
    assert error.value.problems[0] == TRACE
    assert len(error.value.problems) == 2


def test_only_what_is_asked_for(file: Path) -> None:
    file.write_text(REFUSED.replace("- {balancer: traefik}", "- {balancer: haproxy}").replace("{web: nginx}", "{web: nginx, manage: observe}"))
    assert list(check_offline(file, ["dev"]).environments) == ["dev", "prod"]
    with pytest.raises(UsageError, match="no environment 'live'"):
        check_offline(file, ["live"])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("traffic.chain[1].options.grace", ("traffic", "chain", 1, "options", "grace")),
        ("services.shop.redirects[0].to", ("services", "shop", "redirects", 0, "to")),
    ],
)
def test_paths_that_products_name(text: str, path: tuple[str | int, ...]) -> None:
    assert key_path(text) == path
