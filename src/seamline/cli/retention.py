"""`seamline gc`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from seamline.cli.command import Client, command, table

SHOWN_ITEMS = 20


@command(name="gc")
@click.option("--plan", "deed", flag_value="plan", default="plan", help="Say what would go.")
@click.option("--apply", "deed", flag_value="apply", help="Remove it.")
@click.option("--runs-older-than", metavar="AGE", help="Also outputs of runs, such as 90d.")
@click.option("--grace", default="24h", show_default=True, help="What came within it stays.")
def gc(client: Client, deed: str, **said: Any) -> tuple[Any, str]:
    """Remove what no release, model, tag, recent run or retention rule needs: rows of old dataset
    versions, blobs, caches, workspaces. Facts are never touched."""
    found = client.post(f"/retention/{deed}", said)
    return found, say_plan(found, "is removed" if deed == "apply" else "can go")


def say_plan(found: Mapping[str, Any], verb: str) -> str:
    """
    >>> item = {"kind": "blob", "name": "sha256:aa", "size_bytes": 2048, "reason": "unused"}
    >>> print(say_plan({"bytes": 2048, "removable": [item], "kept": []}, "can go"))
    2.0 KiB can go: blob 1
    <BLANKLINE>
    kind  name  size     why
    blob  aa    2.0 KiB  unused
    """
    items, kept = found["removable"], found["kept"]
    if not items:
        head = "Nothing can go."
    else:
        counts = Counter(item["kind"] for item in items)
        told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
        head = f"{say_bytes(found['bytes'])} {verb}: {told}"
    parts = [head]
    if items:
        shown = [
            {**item, "size": say_bytes(item["size_bytes"]), "why": item["reason"]}
            for item in sorted(items, key=lambda item: -item["size_bytes"])[:SHOWN_ITEMS]
        ]
        parts.append(table(shown, ["kind", "name", "size", "why"], ""))
        if len(items) > SHOWN_ITEMS:
            parts.append(f"… and {len(items) - SHOWN_ITEMS:,} more (--json lists all)")
    if kept:
        rows = [
            {**one, "size": say_bytes(one["size_bytes"]), "kept because": one["reason"]}
            for one in kept
        ]
        parts.append(table(rows, ["kind", "count", "size", "kept because"], ""))
    return "\n\n".join(parts)


def say_bytes(size: float) -> str:
    """
    >>> say_bytes(12), say_bytes(1536), say_bytes(5 << 30)
    ('12 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
