"""Each thing that can be missing is found, with the command that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.execution.instances import RunningInstance
from manor.execution.machine import Machine
from manor.workflows import doctor
from manor.workflows.doctor import examine_address_file, examine_disk, examine_files_limit, examine_folder, examine_instances, examine_loopback, used_products


@pytest.mark.parametrize(
    ("limits", "is_well", "mend"),
    [((4096, 4096), True, ""), ((-1, -1), True, ""), ((1024, 65536), False, "ulimit -n 4096"), ((1024, 1024), False, "/etc/security/limits.d/manor.conf")],
)
def test_open_files(limits: tuple[int, int], is_well: bool, mend: str) -> None:
    found = examine_files_limit(limits)
    assert (found.is_well, mend in found.mend) == (is_well, True)


def test_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "can_bind", lambda _address, _port: False)
    assert examine_loopback().mend == "ip address add 127.0.0.1/8 dev lo"


@pytest.mark.parametrize("text", ["no json", "[1]", '{"/": {}}', '{"/": 5}'])
def test_an_address_file_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    found = examine_address_file(Machine(tmp_path / "file"))
    assert (found.is_well, found.mend.startswith(f"rm {tmp_path}/file")) == (False, True)


def test_an_address_file_that_is_well_or_not_there(tmp_path: Path) -> None:
    assert examine_address_file(Machine(tmp_path / "file")).is_well


def test_rights_of_the_state_folder(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "state.db").touch(mode=0o600)
    assert all(finding.is_well for finding in examine_folder(folder))
    folder.chmod(0o755)
    (folder / "state.db").chmod(0o644)
    assert [finding.mend for finding in examine_folder(folder)] == [f"chmod 0700 {folder}", f"chmod 0600 {folder}/state.db"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine_disk(tmp_path).detail
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 60)
    assert examine_disk(tmp_path).mend.startswith("du -xh")


def test_programs_that_nobody_keeps(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    (hosts / "old" / "all-1").mkdir(parents=True)
    (tmp_path / "neighbour").mkdir()
    running = [
        RunningInstance(7, str(hosts / "old" / "all-1"), "shop-a"),
        RunningInstance(8, str(hosts / "old" / "all-1"), "shop-a"),
        RunningInstance(9, str(tmp_path / "gone"), "tier-0"),
        RunningInstance(10, str(tmp_path / "neighbour"), "tier-0"),
    ]
    found = list(examine_instances(running, [], hosts))
    assert [finding.mend for finding in found] == ["kill 9", "kill 7 8"]


def test_without_an_estate_every_product_is_looked_for() -> None:
    assert set(used_products(None)) >= {"nginx", "haproxy"}
