"""Reads one service: its profile's defaults, its own keys, and the rules that it keeps by itself (docs/estate.md, services).

Invariant: pure; a service that several environments share is read once.
"""

from __future__ import annotations

import shlex

from manor.estate.model import Service
from manor.estate.not_yet import SERVICE
from manor.estate.overlays import Path, merge
from manor.estate.placeholders import KNOWN, placeholders_in
from manor.estate.problems import Finding, suggestion
from manor.estate.profiles import defaults_of
from manor.estate.source import Node
from manor.estate.translate import validate

QUOTES = {"'", '"', "\\"}


def read_service(node: Node) -> tuple[Service | None, list[Finding]]:
    """Return the service, or None and what is wrong with it."""
    defaults = defaults_of(node)
    full = merge(defaults, node) if defaults.entries and isinstance(node.value, dict) else node
    service, findings = validate(Service, _with_text(full), SERVICE)
    if service is None:
        return None, findings
    findings = check_service(service)
    return (None if findings else service), findings


def _with_text(node: Node) -> Node:
    """Environment variables are text however they look: `DEBUG: 1`, `VERSION: 1.10`."""
    env = node.at(("run", "env"))
    if env is None or not isinstance(env.value, dict):
        return node
    text = {key: Node(child.text, child.mark) if not isinstance(child.value, dict | list) else child for key, child in env.value.items()}
    run = node.entries["run"]
    return Node({**node.entries, "run": Node({**run.entries, "env": Node(text, env.mark)}, run.mark)}, node.mark)


def check_service(service: Service) -> list[Finding]:
    """Return what a service does wrong by itself."""
    checks = (_check_profile, _check_command, _check_health, _check_static, _check_shared, _check_rollout, _check_probes)
    return [finding for check in checks for finding in check(service)]


def _check_profile(service: Service) -> list[Finding]:
    if service.profile == "static":
        findings = [Finding(("run",), "a static service has no program; remove run, or choose profile: generic")] if service.run else []
        missing = "missing; a static service needs a free port to be served from. Add e.g. port: 8300"
        return findings + ([Finding(("port",), missing)] if service.port is None and not service.run else [])
    if service.run is None:
        return [Finding(("run",), "missing; nothing says how the program runs. Add run: {command: …, port: …}, or choose profile: static")]
    return [Finding(("port",), "belongs to static services; write run.port")] if service.port is not None else []


def _check_command(service: Service) -> list[Finding]:
    if service.run is None:
        return []
    missing = [f"{{{word}}}" for word in KNOWN if word not in placeholders_in(service.run.command)]
    findings = [Finding(("run", "command"), f"{word} is missing; the program must listen where its slot is, write {word} where it belongs") for word in missing]
    return findings + _check_words(service.run.command, ("run", "command"))


def _check_words(command: str, path: Path) -> list[Finding]:
    """Return what is wrong with a command line: words that nobody replaces, quotes that do not close, nothing at all."""
    unknown = [word for word in placeholders_in(command) if word not in KNOWN]
    return [Finding(path, _no_placeholder(word)) for word in unknown] + _check_splitting(command, path)


def _no_placeholder(word: str) -> str:
    return f"nothing replaces {{{word}}}; {suggestion(word, KNOWN)}. The text itself is written {{{{{word}}}}}".replace("?.", "?")


def _check_splitting(command: str, path: Path) -> list[Finding]:
    try:
        words = shlex.split(command) if QUOTES & set(command) else command.split()
    except ValueError as error:
        return [Finding(path, f"cannot be split into words: {str(error).lower()}; close the quote")]
    return [] if words else [Finding(path, "empty; write the command line")]


def _check_health(service: Service) -> list[Finding]:
    health = service.health
    kinds = [name for name, value in (("http", health.http), ("tcp", health.tcp), ("command", health.command)) if value]
    if len(kinds) != 1:
        given = f"{' and '.join(kinds)} are given" if kinds else "none of http, tcp, command is given"
        return [Finding(("health",), f"{given}; write exactly one of them, e.g. health: {{http: /healthz}}")]
    if health.command:
        return _check_words(health.command, ("health", "command"))
    if health.tcp and service.profile == "static":
        return [Finding(("health", "tcp"), "a static service has no program whose port could be checked; write e.g. health: {http: /index.html}")]
    return []


def _check_static(service: Service) -> list[Finding]:
    paths = [static.path.rstrip("/") for static in service.static]
    again = [number for number, path in enumerate(paths) if path in paths[:number]]
    return [Finding(("static", number, "path"), "stands twice; keep one of them") for number in again]


def _check_shared(service: Service) -> list[Finding]:
    """One folder that survives cannot lie in another: the link to the outer one would hide it."""
    return [
        Finding(("shared", inner), f"lies in {outer}, which survives as a whole; keep one of them")
        for inner in service.shared
        for outer in service.shared
        if inner.startswith(f"{outer}/")
    ]


def _check_probes(service: Service) -> list[Finding]:
    findings = []
    for number, probe in enumerate(service.probe):
        if probe.body is not None and probe.method != "POST":
            findings.append(Finding(("probe", number, "body"), f"a {probe.method} has no body; remove it, or choose method: POST"))
        if probe.body is None and probe.method == "POST":
            findings.append(Finding(("probe", number, "body"), 'missing; a POST has a body. Add e.g. body: "", or choose another method'))
    return findings


def _check_rollout(service: Service) -> list[Finding]:
    rollout, health = service.rollout, service.health
    findings = []
    if rollout.strategy == "interrupt" and not rollout.longest_outage:
        findings.append(Finding(("rollout", "longest_outage"), "missing; a strategy that interrupts says for how long. Add e.g. longest_outage: 60s"))
    if rollout.strategy != "interrupt" and rollout.longest_outage is not None:
        findings.append(Finding(("rollout", "longest_outage"), f"only strategy interrupt has an outage, this one is {rollout.strategy}; remove it"))
    least = rollout.min_healthy_time + health.interval * health.passes
    if rollout.instance_deadline <= least:
        wrong = f"{rollout.instance_deadline:g}s are over before an instance can be healthy ({least:g}s with health.passes and min_healthy_time); write more"
        findings.append(Finding(("rollout", "instance_deadline"), wrong))
    return findings
