"""From a tier to Varnish's files; pure.

Invariant: a function of the node alone.
"""

from __future__ import annotations

from importlib.resources import files

from pydantic import ValidationError

from manor.errors import InvalidEstate
from manor.estate.topology import TierNode
from manor.integrations.proxies.base import RenderedFile
from manor.integrations.proxies.varnish.extra import refuse_unknown
from manor.integrations.proxies.varnish.options import Options
from manor.integrations.proxies.varnish.parameters import VCL_FILE, commands_file, vcl_name
from manor.integrations.proxies.varnish.vcl import vcl

START_FILE = "start.cli"


def render(node: TierNode) -> tuple[RenderedFile, ...]:
    """Return the tier's files, sorted by name. Raises InvalidEstate for what cannot be written in VCL."""
    options = read_options(node)
    if not node.next:
        raise InvalidEstate([f"traffic.chain[{node.place}]: varnish has nothing to ask; put a balancer after it"])
    refuse_unknown(node)
    content = vcl_content(node, options)
    return (
        RenderedFile(VCL_FILE, content),
        RenderedFile("reload.sh", files(__package__).joinpath("reload.sh").read_bytes(), 0o755),
        RenderedFile(START_FILE, commands_file(node, options, content)),
    )


def vcl_content(node: TierNode, options: Options) -> bytes:
    """Return the VCL file. Raises InvalidEstate for what cannot be written in VCL."""
    try:
        return vcl(node, options).encode()
    except ValueError as error:
        raise InvalidEstate([f"traffic.chain[{node.place}]: {error}"]) from error


def wanted_vcl(node: TierNode) -> str:
    """Return the name of the VCL that a process with these files works by."""
    return vcl_name(vcl_content(node, read_options(node)))


def read_options(node: TierNode) -> Options:
    """Return the tier's options. Raises InvalidEstate with every problem."""
    try:
        return Options.model_validate(dict(node.options))
    except ValidationError as error:
        raise InvalidEstate([f"traffic.chain[{node.place}].options.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]) from error
