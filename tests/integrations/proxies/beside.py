"""Has a vendor's checker judge a part together with somebody else's files, as reconcile does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from manor.estate.layout import HostLayout
from manor.estate.topology import TierNode
from manor.execution.values import HostPath
from manor.integrations.proxies.base import Proxy
from manor.integrations.proxies.parts import Found
from manor.reconcile.site import with_parents
from manor.registry import product
from tests.integrations.proxies import nodes, tiers


def placed(node: TierNode, root: HostPath, sockets: HostPath, theirs: HostPath) -> TierNode:
    """Return a part with its folders under a root of the test, beside a folder of theirs."""
    tls = nodes.tls(root) if node.tls else None
    return replace(node, folders=HostLayout(root, sockets).tier(node.key), tls=tls, theirs=nodes.include(node.product, str(theirs)))


async def judged(node: TierNode, theirs: HostPath, main: str, others: Mapping[str, str], *, with_ours: bool = True) -> tuple[str, ...]:
    """Write their files, and return what the checker refuses of them with ours, or without."""
    proxy: Proxy = product("proxies", node.product)
    part, folder = proxy.part, HostPath(Path(node.folders.etc).with_name("staging"))
    assert part is not None
    for name, text in {f"{node.product}.conf": main, **{f"conf.d/{name}": text for name, text in others.items()}}.items():
        (Path(theirs) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(theirs) / name).write_text(text)
    tiers.prepare(node)
    staged = replace(node, folders=node.folders.staged(folder))
    files = {file.name: file.content for file in proxy.render(staged)}
    own = files.pop(part.own_file(node))
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (Path(folder) / name).write_bytes(content)
    found = Found(main.encode(), tuple(sorted(path.name for path in Path(theirs).iterdir())), tuple(others))
    judging = part.judge(staged, found, folder, own if with_ours else None)
    await tiers.runner().change(with_parents(judging.acts))
    return proxy.parse_check(await tiers.runner().run(judging.command))
