"""Reads the chain of tiers: a list of `{<role>: <product>}`, outermost first (docs/estate.md, traffic).

Invariant: pure; which products there are and what they can do is given.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from manor.estate.model import TierRule, Tls, Traffic
from manor.estate.not_yet import TRAFFIC
from manor.estate.problems import Finding, suggestion
from manor.estate.source import Float, Node
from manor.estate.topology import ProxyTraits, Role
from manor.estate.translate import MISSING, known_keys, validate
from manor.estate.units import show

Products = Mapping[str, ProxyTraits]
Options = Mapping[str, type[BaseModel]]
"""The type of each product's own options."""
DEFAULT_ROLES = (Role.ROUTER, Role.CACHE, Role.BALANCER, Role.WEB)


def default_traffic(products: Products) -> Traffic:
    """Return the chain of an estate that declares none: each role's default product."""
    chosen = [(role, next((name for name, traits in sorted(products.items()) if role in traits.default_for), None)) for role in DEFAULT_ROLES]
    return Traffic(chain=tuple(TierRule(role=role.value, product=product) for role, product in chosen if product))


def read_traffic(node: Node, products: Products, options: Options) -> tuple[Traffic | None, list[Finding]]:
    """Return the traffic section, or None and what is wrong with it."""
    head = Node({key: child for key, child in node.entries.items() if key != "chain"}, node.mark)
    rest = Node({**head.entries, "chain": Node([], node.mark)}, node.mark)
    if not isinstance(node.value, dict):
        return None, [Finding((), "not a mapping; write traffic: {chain: [{balancer: …}, {web: …}]}")]
    traffic, findings = validate(Traffic, rest, TRAFFIC)
    chain, wrong = _read_chain(node.child("chain"), products, options)
    findings += [finding.below("chain") for finding in wrong]
    tls = traffic.tls if traffic else Tls()
    return (None if findings else Traffic(chain=chain, tls=tls)), findings


def _read_chain(node: Node | None, products: Products, options: Options) -> tuple[tuple[TierRule, ...], list[Finding]]:
    if node is None:
        return (), [Finding((), f"missing; {MISSING['chain']}")]
    if not isinstance(node.value, list) or not node.value:
        return (), [Finding((), "not a list of tiers; write e.g. [{balancer: …}, {web: …}], outermost first")]
    read = [_read_tier(item, products, options) for item in node.value]
    findings = [finding.below(number) for number, (_, wrong) in enumerate(read) for finding in wrong]
    return tuple(rule for rule, _ in read if rule), findings


def _read_tier(node: Node, products: Products, options: Options) -> tuple[TierRule | None, list[Finding]]:
    roles = [key for key in node.entries if key in set(Role)]
    unknown = [key for key in node.entries if key not in set(Role) and key not in known_keys(TierRule, ()) - {"role", "product"}]
    findings = [Finding((key,), f"unknown key; {suggestion(key, _tier_keys())}") for key in unknown]
    if len(roles) != 1:
        return None, findings or [Finding((), f"a tier has exactly one of {', '.join(Role)}; write e.g. {{web: …}}")]
    role = roles[0]
    product = node.entries[role].value
    if not isinstance(product, str) or product not in products:
        near = suggestion(product if isinstance(product, str) else "", products)
        return None, [*findings, Finding((role,), f"{show(product)} is not a product for a tier; {near}")]
    fields = {key: child for key, child in node.entries.items() if key not in ("options", *Role)}
    named = Node({**fields, "role": Node(role, node.mark), "product": node.entries[role]}, node.mark)
    rule, wrong = validate(TierRule, named, {})
    given, more = _read_options(node.child("options"), options.get(product))
    findings += wrong + more
    return (rule.model_copy(update={"options": given}) if rule and not findings else None), findings


def _read_options(node: Node | None, model: type[BaseModel] | None) -> tuple[dict[str, object], list[Finding]]:
    if node is None:
        return {}, []
    if not isinstance(node.value, dict):
        return {}, [Finding(("options",), "not a mapping; write {option: value}, see the product's page")]
    findings = validate(model, node, {})[1] if model else []
    return {key: _free(child) for key, child in node.entries.items()}, [finding.below("options") for finding in findings]


def _free(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _free(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_free(child) for child in node.value]
    return float(node.value) if isinstance(node.value, Float) else node.value


def _tier_keys() -> set[str]:
    return {*Role, *known_keys(TierRule, ())} - {"role", "product"}
