"""Environments are alike by construction: what differs beyond hosts, names and sizes has a reason (docs/estate.md, parity)."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.environments import OVERLAYS
from manor.estate.model import Environment
from manor.estate.overlays import Path, changes
from manor.estate.problems import Finding, dotted, suggestion
from manor.estate.rules.context import Context
from manor.estate.source import Node

SIZES = (("run", "limits"),)
NAMES = ("host", "body")


def check_parity(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield each value that differs from the estate's own without a reason under `differences`."""
    declared = context.declared
    differing: list[Path] = []
    for section in OVERLAYS:
        if declared.own.child(section) is None:
            continue
        nothing = Node({}, declared.own.mark)
        base, merged = declared.base.child(section) or nothing, declared.merged.child(section) or nothing
        for below in changes(base, merged):
            path = (section, *below)
            differing.append(path)
            if not _is_free(path, base, merged) and not any(_names(reason, path) for reason in environment.differences):
                yield Finding(path, _message(path, environment.name))
    yield from _check_reasons(environment, differing)


def _check_reasons(environment: Environment, differing: list[Path]) -> Iterator[Finding]:
    """Yield reasons for all there is, which say nothing, and reasons for what does not differ, which would go unnoticed one day."""
    for reason in environment.differences:
        if reason in OVERLAYS:
            yield Finding(("differences", reason), f"a reason for all {reason} at once; name what differs, e.g. {_example(reason, differing)}")
        elif not any(_names(reason, path) for path in differing):
            yield Finding(("differences", reason), f"nothing of this name differs; {_way_out(reason, differing)}")


def _example(section: str, differing: list[Path]) -> str:
    return next((dotted(path[:2]) for path in differing if path[0] == section and len(path) > 1), f"{section}.<name>")


def _way_out(reason: str, differing: list[Path]) -> str:
    known = {spelling for path in differing for length in range(2, len(path) + 1) for spelling in _spellings(path[:length])}
    return f"{suggestion(reason, known)}, or remove the reason".replace("?, or", "? Or") if known else "remove it"


def _message(path: Path, environment: str) -> str:
    key = dotted(path[:2])
    return f'differs from the other environments; say why with differences: {{{key}: "…"}} under environments.{environment}, or declare it for all'


def _is_free(path: Path, base: Node | None, merged: Node | None) -> bool:
    """Sizes and names may differ; `services.<name>` is the beginning of such a path."""
    if path[0] != "services" or len(path) < 3:
        return False
    below = path[2:]
    if any(below[: len(free)] == free for free in SIZES):
        return True
    return below == ("routes",) and _differ_in_names(base and base.at(path[1:]), merged and merged.at(path[1:]))


def _differ_in_names(base: Node | None, merged: Node | None) -> bool:
    if base is None or merged is None or not isinstance(base.value, list) or not isinstance(merged.value, list):
        return False
    return [_without_names(item) for item in base.value] == [_without_names(item) for item in merged.value]


def _without_names(route: Node) -> object:
    return {key: child.plain() for key, child in route.entries.items() if key not in NAMES}


def _names(reason: str, path: Path) -> bool:
    """Tell whether a reason names the path or something above it."""
    return bool(reason) and reason not in OVERLAYS and any(f"{spelling}.".startswith(f"{reason}.") for spelling in _spellings(path))


def _spellings(path: Path) -> tuple[str, str]:
    """Return the two ways to write a path; the section may be left out."""
    whole = dotted(path)
    return whole, whole.removeprefix(f"{path[0]}.")
