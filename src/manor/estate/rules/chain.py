"""Which chains work (docs/estate.md, traffic): the first tier ends TLS, the last is `web`, the one before it switches."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.model import Environment, Health, TierRule
from manor.estate.problems import Finding
from manor.estate.rules.context import Context
from manor.estate.topology import ProxyTraits, Switch


def check_chain(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield what the chain asks of a product that cannot do it."""
    chain = environment.traffic.chain
    if not chain:
        yield Finding(("traffic",), "missing, and no product here is the default of a tier; add traffic: {chain: […]}")
        return
    switching = max(0, len(chain) - 2)
    for place, rule in enumerate(chain):
        traits = context.products[rule.product]
        for wrong in _wrongs(rule, traits, place, is_last=place == len(chain) - 1, is_switching=place == switching):
            yield Finding(("traffic", "chain", place), wrong)
    if context.products[chain[switching].product].switch is not Switch.NONE:
        yield from _check_healths(environment, chain[switching], context.products[chain[switching].product])


def _wrongs(rule: TierRule, traits: ProxyTraits, place: int, *, is_last: bool, is_switching: bool) -> Iterator[str]:
    if is_last != (rule.role == "web"):
        yield "the last tier is web, beside the programs; add {web: …} after it" if is_last else "web stands last, beside the programs; move it to the end"
    if rule.role not in traits.roles:
        yield f"{rule.product} cannot be a {rule.role}; it can be: {', '.join(sorted(traits.roles))}"
    if place == 0 and not traits.can_be_first:
        yield f"{rule.product} cannot be the first tier, which ends TLS and matches routes; put another tier before it"
    if is_switching and traits.switch is Switch.NONE:
        yield f"{rule.product} cannot switch between slots, which the last tier before web does; put a balancer between them"


def _check_healths(environment: Environment, rule: TierRule, traits: ProxyTraits) -> Iterator[Finding]:
    """Yield what the switching tier cannot check; one that checks nothing leaves all to the rollout, which asks the instance itself."""
    refused = {"http", "tcp", "command"} - traits.switch_checks if traits.switch_checks else set()
    for name, service in environment.services.items():
        kind = kind_of(service.health)
        if kind in refused:
            accepted = ", ".join(sorted(traits.switch_checks))
            wrong = f"{rule.product} is the tier that switches, and cannot check {kind}; it checks {accepted}: use that, or another product before web"
            yield Finding(("services", name, "health", kind), wrong)


def kind_of(health: Health) -> str:
    """Return `http`, `tcp` or `command`."""
    return "http" if health.http else "tcp" if health.tcp else "command"
