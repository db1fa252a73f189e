"""What verbs print, for people and as JSON, as far as no host is needed; texts are files in golden/."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from manor.state import operations, runs
from manor.state.receipts import ReceiptRow, add
from manor.state.store import Store
from manor.workflows.context import open_context
from manor.workflows.snapshots import keep_estate
from tests.cli.conftest import ESTATE, Shell

Golden = Callable[[str, str], bool]
CASE = Path(__file__).parents[1] / "rollout" / "receipt" / "cases" / "rolling_nothing_lost"


def test_help_lists_every_verb(shell: Shell, is_golden: Golden) -> None:
    assert is_golden("help.txt", shell.run("--help").stdout)


def test_init_writes_an_estate_that_holds(shell: Shell, is_golden: Golden) -> None:
    done = shell.run("init", "--yes", "--name", "acme")
    assert done.exit_code == 0
    text = (shell.folder / "estate.yaml").read_text()
    assert is_golden("init.yaml", text)
    assert len(text.splitlines()) <= 12
    assert (shell.folder / ".gitignore").read_text() == ".manor/state/\n"
    assert shell.run("check", "--offline").stdout == "acme: valid (2 environments)\n"


def test_init_asks_two_questions(shell: Shell) -> None:
    done = shell.run("init", typed="shop\npython3 serve.py {address} {port}\n")
    assert done.exit_code == 0
    written = yaml.safe_load((shell.folder / "estate.yaml").read_text())
    assert (written["estate"], written["services"]["web"]["run"]["command"]) == ("shop", "python3 serve.py {address} {port}")


def test_init_overwrites_nothing(estate: Shell) -> None:
    (estate.folder / ".gitignore").write_text("*.pyc\n/.manor/state")
    before = (estate.folder / "estate.yaml").read_text()
    assert estate.run("init", "--yes").exit_code == 2
    assert (estate.folder / "estate.yaml").read_text() == before
    assert (estate.folder / ".gitignore").read_text() == "*.pyc\n/.manor/state"


@pytest.mark.parametrize("name", ['x"} backend evil', "a: b", "Web", "x\ny", "-"])
def test_init_refuses_names_that_are_none(name: str, shell: Shell) -> None:
    assert shell.run("init", "--yes", "--service", name).exit_code == 3
    assert list(shell.folder.iterdir()) == []


def test_init_keeps_any_command_in_one_piece(shell: Shell) -> None:
    line = """sh -c 'echo "{address}" # {port}; x: "y" \\ é'"""
    assert shell.run("init", "--yes", "--command", line).exit_code == 0
    assert yaml.safe_load((shell.folder / "estate.yaml").read_text())["services"]["web"]["run"]["command"] == line


def test_schema_is_a_schema_that_accepts_a_new_estate(shell: Shell) -> None:
    shell.run("init", "--yes", "--name", "acme")
    schema = json.loads(shell.run("schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load((shell.folder / "estate.yaml").read_text()))
    assert shell.run("schema", "--reference").stdout.startswith("# Reference of estate.yaml")
    assert shell.objects("schema")[0]["schema"] == schema


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_verbs_that_only_look_leave_no_state_and_claim_no_address(shell: Shell) -> None:
    shell.run("init", "--yes", "--name", "acme")
    before = files_of(shell.folder)
    assert shell.run("check", "--offline").exit_code == 0
    assert shell.run("render", "--to", "out").exit_code == 0
    after = files_of(shell.folder)
    assert {name: content for name, content in after.items() if not name.startswith("out/")} == before
    assert any(b"127." in content for content in after.values())
    assert not shell.state.parent.exists()


def test_down_where_nothing_was_says_so_and_makes_nothing(shell: Shell) -> None:
    (shell.folder / "estate.yaml").write_text(ESTATE)
    for words, names in ((("down",), "dev, prod"), (("down", "--purge"), "dev, prod"), (("down", "-e", "dev", "--dry-run"), "dev")):
        done = shell.run(*words)
        assert (done.exit_code, done.stdout) == (0, f"{names}: nothing to take down\n")
    (found,) = shell.objects("down")
    assert (found["environments"], found["not_up"], found["purged"]) == ([], ["dev", "prod"], False)
    assert shell.run("down", "-e", "stage").exit_code == 2
    assert sorted(path.name for path in shell.folder.iterdir()) == ["estate.yaml"]


def test_down_of_what_is_not_up_says_so(estate: Shell) -> None:
    done = estate.run("down", "-e", "dev")
    assert (done.exit_code, done.stdout) == (0, "dev: nothing to take down\n")


def test_status_leaves_no_state_and_shows_no_address_that_was_never_claimed(shell: Shell) -> None:
    shell.run("init", "--yes", "--name", "acme")
    before = files_of(shell.folder)
    done = shell.run("status", "-e", "dev")
    assert (done.exit_code, done.stdout) == (1, "dev\n  needs you  dev is not up; `manor up -e dev`\n")
    assert files_of(shell.folder) == before
    assert not shell.state.parent.exists()


@pytest.mark.native
def test_what_looks_sees_the_addresses_that_up_has_claimed(estate: Shell) -> None:
    with open_context(estate.folder / "estate.yaml") as context:
        claimed = {name: place.address for name, place in context.addressing(context.environment("prod")).hosts.items()}
    seen = {host["name"]: host["address"] for host in estate.objects("status", "-e", "prod")[0]["hosts"]}
    assert seen == claimed


def test_render_gives_the_same_bytes_again(estate: Shell) -> None:
    assert estate.run("render", "--to", "one").exit_code == 0
    assert estate.run("render", "--to", "two").exit_code == 0
    one = files_of(estate.folder / "one")
    assert one == files_of(estate.folder / "two")
    assert {"prod/edge-1/README.md", "prod/web-2/run/exec", "dev/all-1/etc/pages/503.html"} <= one.keys()
    assert not [name for name, content in one.items() if b"PRIVATE KEY" in content or "/tls/" in name]


def test_render_of_one_host(estate: Shell) -> None:
    (found,) = estate.objects("render", "-e", "prod", "--host", "web-1")
    assert found["host"] == "web-1"
    assert {path.relative_to(estate.folder / "rendered").parts[:2] for path in (estate.folder / "rendered").glob("*/*")} == {("prod", "web-1")}
    assert estate.run("render", "--host", "web-9").exit_code == 2


def test_render_replaces_only_what_it_wrote(estate: Shell) -> None:
    assert estate.run("render", "--to", "mine").exit_code == 0
    (estate.folder / "mine" / "stray").write_text("x")
    assert estate.run("render", "--to", "mine").exit_code == 0
    assert not (estate.folder / "mine" / "stray").exists()
    (estate.folder / "other").mkdir()
    (estate.folder / "other" / "thesis").write_text("x")
    assert estate.run("render", "--to", "other").exit_code == 2
    assert (estate.folder / "other" / "thesis").read_text() == "x"


def test_state_goes_into_a_file_and_back(estate: Shell) -> None:
    made = estate.objects("state", "backup", "b.tar")[0]
    assert stat.S_IMODE((estate.folder / "b.tar").stat().st_mode) == 0o600
    shown = estate.objects("state", "show")[0]
    assert (shown["state_id"], shown["schema"]) == (made["state_id"], made["schema"])
    estate.run("repo", "token", "ci")
    back = estate.objects("state", "restore", "b.tar", "--replace")[0]
    assert back["state_id"] == made["state_id"]
    assert estate.run("repo", "token").stdout == "no tokens\n"


def test_the_estates_that_operations_were_begun_with_come_back(estate: Shell) -> None:
    keep_with_operation(estate)
    kept = files_of(estate.state / "estates")
    estate.run("state", "backup", "b.tar")
    assert estate.run("state", "restore", "b.tar", "--replace").exit_code == 0
    assert files_of(estate.state / "estates") == kept != {}


def test_a_restore_over_a_state_needs_a_word(estate: Shell) -> None:
    (estate.state / "artifacts" / "x.tar").touch()
    estate.run("state", "backup", "b.tar")
    done = estate.run("state", "restore", "b.tar")
    assert (done.exit_code, "--replace" in done.stderr) == (2, True)


def test_a_damaged_backup_changes_nothing(estate: Shell) -> None:
    (estate.folder / "b.tar").write_bytes(b"no tar")
    assert estate.run("state", "restore", "b.tar").exit_code == 4


def write_receipts(shell: Shell) -> None:
    """Leave a receipt in the store."""
    body = (CASE / "receipt.json").read_text()
    with Store.open(shell.state) as store:
        for number, lost in enumerate((0, 2)):
            row = ReceiptRow(f"20260131t09000{number}-aaaaaa", "prod", "shop", "0123456789ab", lost, body, 1_769_850_000.0 + number)
            store.write_now(add, row)


def test_receipts_are_listed_and_shown(estate: Shell, is_golden: Golden) -> None:
    assert estate.run("receipt").stdout == "there are no receipts yet; `manor ship` makes the first\n"
    write_receipts(estate)
    assert is_golden("receipts.txt", estate.run("receipt").stdout)
    text = estate.run("receipt", "shop").stdout
    assert text == estate.run("receipt", "20260131t090001-aaaaaa").stdout
    assert text == (CASE / "receipt.txt").read_text()
    assert estate.objects("receipt", "shop", "-e", "prod")[0]["receipt"]["service"]
    assert [row["lost"] for row in estate.objects("receipt")[0]["receipts"]] == [2, 0]


def test_every_loss_of_a_receipt_is_listed_when_it_is_asked_for_and_in_json(estate: Shell) -> None:
    body = (CASE.parent / "interrupt_measured" / "receipt.json").read_text()
    with Store.open(estate.state) as store:
        store.write_now(add, ReceiptRow("20260131t090000-aaaaaa", "prod", "shop", "0123456789ab", 61, body, 1_769_850_000.0))
    told = " unexpected status  503 "
    assert estate.run("receipt", "shop").stdout.count(told) == 50
    assert estate.run("receipt", "shop", "--all-losses").stdout.count(told) == 61
    assert len(estate.objects("receipt", "shop")[0]["receipt"]["probe"]["losses"]) == 61


def test_a_receipt_that_is_not_there(estate: Shell) -> None:
    write_receipts(estate)
    assert estate.run("receipt", "nope").exit_code == 2
    assert "in dev" in estate.run("receipt", "shop", "-e", "dev").stderr


def test_services_are_listed(estate: Shell, is_golden: Golden) -> None:
    assert is_golden("services.txt", estate.run("service", "list").stdout)
    assert [row["service"] for row in estate.objects("service", "list", "-e", "dev")[0]["services"]] == ["shop"]


def test_what_is_declared_is_not_removed(estate: Shell) -> None:
    done = estate.run("service", "remove", "shop", "-e", "dev")
    assert done.exit_code == 2
    assert "still declares shop" in done.stderr
    assert estate.run("service", "remove", "reports", "-e", "dev").stdout == "dev: reports: nothing to do; nothing of it is there\n"


def test_nothing_certified_is_not_restarted(estate: Shell) -> None:
    done = estate.run("service", "restart", "shop", "-e", "dev")
    assert (done.exit_code, "manor ship shop" in done.stderr) == (2, True)


def test_tokens_are_shown_once(estate: Shell) -> None:
    value = estate.objects("repo", "token", "ci", "--scope", "ship", "--expires", "30d")[0]["value"]
    assert value.startswith("manor_")
    assert estate.run("repo", "token", "ci").exit_code == 2
    listed = estate.run("repo", "token")
    assert value not in listed.stdout
    assert listed.stdout.startswith("ci ")
    assert estate.run("repo", "token", "ci", "--revoke").stdout == "ci: ended\n"
    assert "revoked" in estate.run("repo", "token").stdout
    assert estate.run("repo", "token", "x", "--expires", "3x").exit_code == 2


def test_runs_are_listed_found_and_cancelled(estate: Shell) -> None:
    assert estate.run("run").stdout == "no runs yet; a push makes the first\n"
    with Store.open(estate.state) as store:
        made = store.write_now(runs.add_run, "shop", "refs/heads/main", "ab" * 20, "push", 1_769_850_000.0)
    assert made.id in estate.run("run", "list", "shop").stdout
    assert estate.objects("run", "shop")[0]["id"] == made.id
    assert estate.objects("run", "show", made.id[:18])[0]["steps"] == []
    assert estate.objects("run", "cancel", made.id)[0]["state"] == "cancelled"
    assert estate.run("run", "cancel", made.id).exit_code == 2
    assert estate.run("run", "nope").exit_code == 2


def test_nothing_to_resume_or_abandon(estate: Shell) -> None:
    assert estate.run("resume").stderr == "error: there is nothing unfinished\n"
    assert estate.run("abandon", "shop", "--reason", "x").exit_code == 2


def keep_with_operation(shell: Shell) -> None:
    """Keep the estate as an operation would that was begun with it."""
    with open_context(shell.folder / "estate.yaml") as context:
        keep_estate(context)
        context.store.write_now(operations.create, operations.NewOperation("apply", "dev", estate_digest=context.estate.digest), at=1.0)


@pytest.mark.parametrize(
    ("words", "code"), [(("resume",), 2), (("abandon", "shop", "--reason", "x"), 2), (("rollback", "shop", "-e", "dev"), 2), (("receipt",), 0)]
)
def test_a_mistake_in_the_estate_blocks_no_verb_of_the_night(words: tuple[str, ...], code: int, estate: Shell) -> None:
    keep_with_operation(estate)
    well = estate.run(*words)
    file = estate.folder / "estate.yaml"
    file.write_text(file.read_text().replace("health:", "heath:"))
    wrong = estate.run(*words)
    assert (well.exit_code, wrong.exit_code) == (code, code)
    said, *rest = wrong.stderr.splitlines()
    assert said.startswith("estate.yaml is not valid (estate.yaml:4: ")
    assert "going on with the estate of the last operation" in said
    assert (wrong.stdout, rest) == (well.stdout, well.stderr.splitlines())
    assert estate.run("plan").exit_code == 3


def test_without_a_kept_estate_the_mistake_is_told(shell: Shell) -> None:
    (shell.folder / "estate.yaml").write_text("estate: x\nenvironments: 3\n")
    assert shell.run("status").exit_code == 3
    assert not shell.state.exists()


@pytest.mark.parametrize("expected", ["4", "4a3a6c548d2", "4a3a6c548d2g", "x" * 12, "4" * 65])
def test_a_plan_is_meant_by_enough_of_its_hash(expected: str, estate: Shell) -> None:
    done = estate.run("apply", "--plan", expected)
    assert done.exit_code == 2
    assert "at least its first 12 digits" in done.stderr


def test_a_request_id_is_held_to_its_shape(estate: Shell) -> None:
    assert estate.run("trace", "$(reboot)").exit_code == 2


def test_a_log_that_is_not_there_is_said(estate: Shell) -> None:
    done = estate.run("logs", "nope", "-e", "dev")
    assert (done.exit_code, "services: shop; tiers: balancer, cache, router, web; hosts: all-1" in done.stderr) == (2, True)


@pytest.mark.native
def test_a_repository_is_made_and_listed(estate: Shell) -> None:
    assert estate.run("repo", "list").stdout == "no repositories\n"
    assert estate.objects("repo", "create", "shop")[0]["name"] == "shop"
    assert (estate.state / "repositories" / "shop.git" / "HEAD").exists()
    assert [row["name"] for row in estate.objects("repo", "list")[0]["repositories"]] == ["shop"]
    assert estate.run("repo", "create", "a;b").exit_code == 2


@pytest.mark.native
def test_a_dry_run_of_a_ship_leaves_nothing(estate: Shell, is_golden: Golden) -> None:
    (estate.folder / "built").mkdir()
    (estate.folder / "built" / "VERSION").write_text("1")
    words = ("ship", "shop", "--artifact", "built", "--dry-run")
    assert (estate.run(*words).exit_code, estate.run(*words).stderr) == (2, "error: dev is not up; first `manor up -e dev`\n")
    with open_context(estate.folder / "estate.yaml") as context:
        for name in context.estate.environments:
            context.wiring(name)  # its addresses are claimed, as by `up`
    rows = contents(estate.folder)
    done = estate.run(*words)
    assert done.exit_code == 0, done.output
    assert is_golden("ship-dry-run.txt", re.sub(r"[0-9a-f]{12}", "0123456789ab", done.output))
    shown = estate.objects(*words)
    assert [(row["dry_run"], row["environment"], len(row["steps"])) for row in shown] == [(True, "dev", 11), (True, "prod", 17)]
    assert shown[0]["steps"][3]["kind"] == "place"
    refused = estate.run("promote", "shop", "--to", "prod", "--dry-run")
    assert (refused.exit_code, refused.stderr) == (2, "error: nothing of shop is certified in dev yet\n")
    assert contents(estate.folder) == rows


def contents(folder: Path) -> list[tuple[str, bytes]]:
    """Return every file below a folder, SQLite's beside its database left out."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in {".db-wal", ".db-shm"}]
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in files]


@pytest.mark.parametrize("words", [("receipt", "shop", "-e", "nix"), ("receipt", "-e", "nix")])
def test_a_receipt_of_an_environment_that_there_is_not(words: tuple[str, ...], estate: Shell) -> None:
    done = estate.run(*words)
    assert (done.exit_code, done.stderr) == (2, "error: there is no environment 'nix'; there are: dev, prod\n")
