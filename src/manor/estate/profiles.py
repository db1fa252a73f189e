"""What a service has without saying so: the defaults of its profile, and of its strategy (docs/estate.md, profiles).

Invariant: pure; a default is laid under what is declared, never over it.
"""

from __future__ import annotations

from manor.estate.source import Mark, Node, parse_yaml

STATIC = parse_yaml("{health: {http: /}, static: [{path: /, dir: public}]}", "profile static")
IN_TURN = parse_yaml("{rollout: {min_healthy: 50%}}", "strategy in_turn")
INTERRUPT = parse_yaml("{rollout: {min_healthy: 0%}}", "strategy interrupt")
STRATEGIES = {"in_turn": IN_TURN, "interrupt": INTERRUPT}


def defaults_of(service: Node) -> Node:
    """Return what is laid under a service's own keys. A health check of one's own replaces the profile's."""
    profile, strategy = service.at(("profile",)), service.at(("rollout", "strategy"))
    entries: dict[str, Node] = {}
    if profile is not None and profile.value == "static":
        entries |= {key: child for key, child in STATIC.entries.items() if key not in service.entries}
    if strategy is not None and isinstance(strategy.value, str) and strategy.value in STRATEGIES:
        entries |= STRATEGIES[strategy.value].entries
    return Node(entries, Mark("defaults", 1))
