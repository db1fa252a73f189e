"""The rules that parts of an estate keep among each other: each a pure function from an environment to findings.

Invariant: a rule sees only parts that are valid by themselves, so that no fault is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from manor.estate.environments import Declared
from manor.estate.model import Environment
from manor.estate.problems import Finding, Problem
from manor.estate.rules.addresses import check_addresses
from manor.estate.rules.chain import check_chain
from manor.estate.rules.context import Context
from manor.estate.rules.files import check_files
from manor.estate.rules.machine import check_machine
from manor.estate.rules.parity import check_parity
from manor.estate.rules.parts import check_parts
from manor.estate.rules.places import check_places
from manor.estate.rules.ports import check_ports
from manor.estate.rules.redirects import check_redirects
from manor.estate.rules.routes import check_routes
from manor.estate.rules.strategies import check_strategies
from manor.estate.rules.switching import check_switching
from manor.estate.rules.untouchables import check_untouchables

Rule = Callable[[Environment, Context], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    check_chain,
    check_files,
    check_parity,
    check_parts,
    check_places,
    check_ports,
    check_redirects,
    check_routes,
    check_strategies,
    check_switching,
    check_untouchables,
)


def check_environments(environments: Mapping[str, Environment], declared: Mapping[str, Declared], contexts: Mapping[str, Context]) -> list[Problem]:
    """Return what is wrong among the parts of each environment, and among environments."""
    problems = [
        declared[name].problem(finding) for name, environment in environments.items() for rule in RULES for finding in rule(environment, contexts[name])
    ]
    among = [*check_addresses(environments), *check_machine(environments)]
    return problems + [declared[name].problem(finding) for name, finding in among]
