"""What an operation was begun with is kept as a whole: a changed extra file is another estate, with a copy of its own."""

from __future__ import annotations

from dataclasses import replace

from manor.estate.load import load_estate
from manor.workflows.context import Context
from manor.workflows.snapshots import context_at, keep_estate, snapshot_folder


def with_extra(context: Context, content: str) -> Context:
    """Return the context whose extra file holds this now."""
    extra = context.file.parent / "conf" / "a.inc"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(content)
    return replace(context, estate=load_estate(context.file))


def test_a_changed_extra_file_is_another_estate_and_another_snapshot(opened: Context) -> None:
    text = opened.file.read_text().replace("    health:", "    extra: {nginx: {server: conf/a.inc}}\n    health:")
    opened.file.write_text(text)
    kept = []
    for content in ("# one\n", "# two\n"):
        context = with_extra(opened, content)
        keep_estate(context)
        kept.append(context.estate.digest)
    assert len(set(kept)) == 2
    now = with_extra(opened, "# three\n")
    assert [(snapshot_folder(now, digest) / "conf" / "a.inc").read_text() for digest in kept] == ["# one\n", "# two\n"]
    assert [context_at(now, digest).estate.digest for digest in kept] == kept
