"""`manor check` with the real checkers: what holds on a host holds in the folder that it is checked in."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.errors import Refused
from manor.execution import machine
from manor.workflows.check import check_tools
from manor.workflows.context import open_context

pytestmark = pytest.mark.native
LONG = "a-name-of-thirty-one-characters"
ESTATE = f"""\
estate: {LONG}
domain: acme.example
services:
  {LONG}:
    run: {{command: "shop {{address}}:{{port}}", port: 8100}}
    health: {{http: /healthz}}
    routes: [{{host: shop}}]
    extra: {{nginx: {{server: own.inc}}}}
traffic: {{chain: [{{balancer: haproxy}}, {{web: nginx}}]}}
environments:
  {LONG}:
    hosts: {{{LONG}: {{groups: [edge, web]}}}}
"""


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's own file alone."""
    monkeypatch.setenv(machine.MACHINE_FILE_VARIABLE, str(tmp_path / "machine"))
    monkeypatch.delenv("MANOR_STATE", raising=False)


def write(folder: Path, verbatim: str) -> Path:
    """Write the estate and the service's own lines."""
    (folder / "estate.yaml").write_text(ESTATE)
    (folder / "own.inc").write_text(verbatim)
    return folder / "estate.yaml"


async def test_the_longest_names_are_accepted_and_nothing_is_left(tmp_path: Path) -> None:
    file = write(tmp_path, "add_header X-Own yes;\n")
    with open_context(file, dry_run=True) as context:
        accepted = await check_tools(context, [LONG])
    assert [(one.host, one.product) for one in accepted] == [(LONG, "haproxy"), (LONG, "nginx")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["estate.yaml", "own.inc"]


async def test_a_refusal_names_files_as_they_lie_on_the_host(tmp_path: Path) -> None:
    with open_context(write(tmp_path, "bogus_directive on;\n"), dry_run=True) as context, pytest.raises(Refused) as error:
        await check_tools(context, [LONG])
    assert f'{LONG}/{LONG}: 1-web-nginx refused: unknown directive "bogus_directive" in etc/1-web-nginx/nginx.conf:' in str(error.value)
    assert "manor-check-" not in str(error.value)
