"""Every error ends in its exit code and one clear message; with --json in one object on standard error."""

from __future__ import annotations

import inspect
import json

import click
import pytest

from manor import errors
from manor.cli.main import Verbs
from manor.errors import CommandFailed, InvalidEstate, ManorError
from tests.cli.conftest import Shell

CLASSES = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, ManorError)]


def example(kind: type[ManorError]) -> ManorError:
    """Return an error of a class."""
    if kind is InvalidEstate:
        return InvalidEstate(["estate.yaml:1: first", "estate.yaml:2: second"])
    return CommandFailed("prod/web-1: it failed", 3) if kind is CommandFailed else kind("prod/web-1: it failed")


def failing(error: BaseException) -> click.Command:
    """Return a verb that fails."""

    @click.command("fails")
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise error

    return command


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_told_with_its_exit_code(kind: type[ManorError], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    error = example(kind)
    monkeypatch.setattr(Verbs, "get_command", lambda *_: failing(error))
    done = shell.run("fails")
    assert done.exit_code == kind.exit_code
    assert done.stdout == ""
    assert done.stderr == "".join(f"error: {line}\n" for line in str(error).splitlines())


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_an_object_with_json(kind: type[ManorError], shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    error = example(kind)
    monkeypatch.setattr(Verbs, "get_command", lambda *_: failing(error))
    done = shell.run("fails", "--json")
    assert done.exit_code == kind.exit_code
    said = json.loads(done.stderr)
    assert said == {"event": "error", "error": kind.__name__, "exit_code": kind.exit_code, "problems": str(error).splitlines()}


def test_interrupted_is_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verbs, "get_command", lambda *_: failing(KeyboardInterrupt()))
    assert shell.run("fails").exit_code == 130


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("stauts",), 2, "error: there is no verb 'stauts'; did you mean `status`?\n"),
        (("nonsense",), 2, "error: there is no verb 'nonsense'; known here: abandon, apply, check,"),
        (("service", "shwo"), 2, "error: there is no verb 'shwo'; did you mean `show`?\n"),
        (("plan", "--bogus"), 2, "error: there is no option --bogus; `manor plan --help` explains the call\n"),
        (("plan", "--jsno"), 2, "error: there is no option --jsno; did you mean `--json`?\n"),
        (("plan",), 2, "there is no estate file"),
        (("plan", "elsewhere.yaml"), 2, "elsewhere.yaml: there is no estate file"),
        (("receipt",), 2, "manor init"),
        (("run", "show"), 2, "error: missing argument 'RUN'; `manor run show --help` explains the call\n"),
        (("logs", "--slot", "c"), 2, "error: invalid value for '--slot': 'c' is not one of 'a', 'b'; `manor logs --help` explains the call\n"),
        (("logs", "web", "--tier", "web"), 2, "error: 'web' and --tier web are two answers to whose log; give one of them\n"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], code: int, told: str, shell: Shell) -> None:
    done = shell.run(*words)
    assert done.exit_code == code
    assert told in done.stderr
    assert "Usage:" not in done.stderr


def test_a_group_without_a_verb_shows_its_help(shell: Shell) -> None:
    done = shell.run("state")
    assert (done.exit_code, "Commands:" in done.stderr) == (2, True)


def test_wrong_usage_is_an_object_with_json(shell: Shell) -> None:
    done = shell.run("plan", "--bogus", "--json")
    assert json.loads(done.stderr)["exit_code"] == done.exit_code == 2


def test_all_problems_of_an_estate_at_once(shell: Shell) -> None:
    (shell.folder / "estate.yaml").write_text("estate: Acme\nbogus: 1\nenvironments: {dev: {}}\n")
    done = shell.run("check", "--offline", "--json")
    assert done.exit_code == 3
    problems = json.loads(done.stderr)["problems"]
    assert len(problems) >= 2
    assert all(problem.split(":")[1].isdigit() for problem in problems)


@pytest.mark.parametrize(
    "verb", ["promote echo --to prod", "rollback echo -e prod", "ship echo --artifact .", "service show echo", "service restart echo -e dev"]
)
def test_an_unknown_service_is_named(verb: str, estate: Shell) -> None:
    done = estate.run(*verb.split())
    assert (done.exit_code, done.stderr) == (2, "error: there is no service 'echo'; there are: shop\n")


def test_an_unknown_environment_is_named(estate: Shell) -> None:
    done = estate.run("status", "-e", "live")
    assert (done.exit_code, done.stderr) == (2, "error: there is no environment 'live'; there are: dev, prod\n")
