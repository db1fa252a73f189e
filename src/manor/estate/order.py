"""Puts environments into the order of promotion by their `after`.

Invariant: pure; an environment comes later than the one it names, and otherwise in the order of declaration.
"""

from __future__ import annotations

from manor.estate.problems import Problem, dotted, suggestion
from manor.estate.source import Node
from manor.estate.units import NAME, show


def order_environments(root: Node) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the environments in the order of promotion, and what is wrong with names and `after`."""
    node = root.child("environments")
    if node is not None and not isinstance(node.value, dict | None):
        return (), [Problem(node.mark, "environments", f"{show(node.value)} is not a mapping; write e.g. environments: {{dev: {{}}}}")]
    if node is None or not node.value:
        where = node or root
        return (), [Problem(where.mark, "environments", "missing; an estate needs one at least. Add e.g. environments: {dev: {}}")]
    problems = [problem for name, child in node.entries.items() for problem in _check(name, child, node)]
    before = afters(root)
    done: dict[str, None] = {}
    waiting = list(node.entries)
    while waiting:
        ready = [name for name in waiting if before.get(name) in done or before.get(name) not in node.entries]
        if not ready:
            problems += [_told(circle, node) for circle in _circles(waiting, before)]
            ready = waiting
        done |= dict.fromkeys(ready)
        waiting = [name for name in waiting if name not in done]
    return tuple(done), problems


def afters(root: Node) -> dict[str, str]:
    """Return which environment each one comes after, for those that name one."""
    environments = root.child("environments")
    found = {name: child.child("after") for name, child in environments.entries.items()} if environments else {}
    return {name: after.value for name, after in found.items() if after is not None and isinstance(after.value, str)}


def _check(name: str, child: Node, node: Node) -> list[Problem]:
    problems = []
    if not NAME.fullmatch(name):
        wrong = f"{name!r} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters"
        problems.append(Problem(child.mark, dotted(("environments", name)), wrong))
    if not isinstance(child.value, dict):
        problems.append(Problem(child.mark, dotted(("environments", name)), "not a mapping; write {} for an environment with all defaults"))
    after = child.child("after")
    if after is not None and isinstance(after.value, str) and after.value not in node.entries:
        wrong = f"there is no environment {after.value!r}; {suggestion(after.value, set(node.entries) - {name})}"
        problems.append(Problem(after.mark, dotted(("environments", name, "after")), wrong))
    return problems


def _circles(waiting: list[str], before: dict[str, str]) -> list[list[str]]:
    """Return every circle, each once; every waiting environment leads into one."""
    circles: list[list[str]] = []
    done: set[str] = set()
    for first in waiting:
        name = first
        seen: dict[str, None] = {}
        while name not in seen and name not in done:
            seen[name] = None
            name = before[name]
        if name in seen:
            path = list(seen)
            circles.append([*path[path.index(name) :], name])
        done |= set(seen)
    return circles


def _told(circle: list[str], node: Node) -> Problem:
    mark = node.entries[circle[0]].nearest(("after",)).mark
    return Problem(mark, dotted(("environments", circle[0], "after")), f"goes round in a circle: {' after '.join(circle)}; remove one `after`")
