"""From a tier to Traefik's files; pure.

Invariant: a function of the node alone. What `initial-*` says only serves a host that has no state yet.
"""

from __future__ import annotations

from importlib.resources import files

from pydantic import ValidationError

from manor.errors import InvalidEstate
from manor.estate.topology import TierNode
from manor.integrations.proxies.base import RenderedFile
from manor.integrations.proxies.traefik.native import Native, dumped
from manor.integrations.proxies.traefik.options import Options
from manor.integrations.proxies.traefik.routing import dynamic_file
from manor.integrations.proxies.traefik.static import static_file
from manor.integrations.proxies.traefik.switching import traffic_content


def render(node: TierNode) -> tuple[RenderedFile, ...]:
    """Return the tier's files, sorted by name. Raises InvalidEstate for what Traefik cannot do."""
    refuse(node)
    options = read_options(node)
    found = [
        RenderedFile("check.sh", packaged("check.sh"), 0o755),
        RenderedFile("dynamic.yaml", dynamic_file(node, options)),
        RenderedFile("start.sh", packaged("start.sh"), 0o755),
        RenderedFile("traefik.yaml", static_file(node, options)),
        RenderedFile("pages.yml", plugin_manifest()),
        RenderedFile("pages.go", packaged("pages.go")),
    ]
    if node.is_switching:
        found.extend(RenderedFile(f"initial-{service.name}.yaml", traffic_content(node, service, {})) for service in node.services)
    return tuple(sorted(found, key=lambda file: file.name))


def read_options(node: TierNode) -> Options:
    """Return the tier's options. Raises InvalidEstate with every problem."""
    try:
        return Options.model_validate(dict(node.options))
    except ValidationError as error:
        raise InvalidEstate([f"traffic.chain[{node.place}].options.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]) from error


def refuse(node: TierNode) -> None:
    """Raise InvalidEstate for what this place asks and Traefik cannot do."""
    problems = []
    if node.request_id == "from_trace":
        problems.append(f"traffic.chain[{node.place}]: traefik cannot turn a trace id into a request id; put another product after the first tier")
    problems += [
        f"services.{service.name}.extra.traefik: traefik has no place for verbatim text; it cannot be bounded to one service"
        for service in node.services
        if service.extra.get("traefik")
    ]
    if node.is_switching:
        problems += [
            f"services.{service.name}.health: traefik as the switching tier only checks http; write health: {{http: /…}}"
            for service in node.services
            if service.health.http is None
        ]
    if problems:
        raise InvalidEstate(problems)


def plugin_manifest() -> bytes:
    """Return what Traefik wants to know about a local plugin."""
    manifest: Native = {
        "displayName": "pages",
        "type": "middleware",
        "import": "manor/pages",
        "summary": "Answers with a page or a redirect",
        "testData": {"status": 404},
    }
    return dumped(manifest).encode()


def packaged(name: str) -> bytes:
    """Return a file that lies beside this module."""
    return files(__package__).joinpath(name).read_bytes()
