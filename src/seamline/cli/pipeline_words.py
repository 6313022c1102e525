"""Pipelines, their versions and what changed between these, in text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seamline.cli.command import record, table
from seamline.register.pipelines.tags import is_immutable_tag

_VERSION_LIKE = re.compile(r"[vV]?\d+(\.|$)")
_NAMES = ("package", "repository", "digest", "published_by", "published_at", "commit", "path")


def say_pipeline(found: Mapping[str, Any]) -> str:
    """What `pipeline show` prints."""
    tags = [{**one, "digest": one["digest"]} for one in found["tags"]]
    moves = [{**one, "moved": _say_move(one)} for one in found["history"]]
    users = [*map(_say_consumer, found["consumers"])]
    users += [f"release {alias}" for alias in found["releases"]]
    users += [
        f"{_say_consumer(one)} (another version)" for one in found["consumers_of_other_versions"]
    ]
    return "\n\n".join(
        [
            record(dict(found), _NAMES),
            _say_ports("inputs", found["interface"]["inputs"]),
            _say_ports("outputs", found["interface"]["outputs"]),
            "tags\n" + table(tags, ["tag", "digest"], "none"),
            "tag history\n" + table(moves, ["at", "by", "tag", "moved"], "none"),
            "used by\n" + ("\n".join(users) or "nobody that is known"),
        ]
    )


def say_verdict(found: Mapping[str, Any]) -> str:
    """What `pipeline check` prints."""
    name = f"{found['package']} {found['tag'] or ''}".rstrip()
    if found["against"] is None:
        return f"{found['verdict']}: {name} is the first version that it would be held against"
    against = found["against"]
    lines = [f"{found['verdict']}: {name} against {_short(against)}", say_changes(found["changes"])]
    if found["verdict"] == "breaking":
        if found["consumers"]:
            lines.append(f"used by {', '.join(found['consumers'])}")
        wanted = found["next_version"]
        lines.append(f"publish it as {wanted}" if wanted else "users of that version would break")
    return "\n".join(lines)


def say_moving(tags: Iterable[str]) -> list[str]:
    """A hint about tags that look like versions and move all the same; empty without any.

    >>> say_moving(["v1.0.0", "latest", "1.0.0"])
    ['note: v1.0.0 can be moved later; only tags like 1.0.0 (three numbers) never move']
    """
    found = [tag for tag in tags if _VERSION_LIKE.match(tag) and not is_immutable_tag(tag)]
    if not found:
        return []
    named = ", ".join(found)
    return [f"note: {named} can be moved later; only tags like 1.0.0 (three numbers) never move"]


def say_changes(changes: Sequence[Mapping[str, str]]) -> str:
    """One line each, breaking ones first, as they come."""
    lines = [
        f"{one['effect']:<10}  {one['side']} {one['name']} {one['what']}: {one['reason']}"
        for one in changes
    ]
    return "\n".join(lines) or "the interface is the same"


def say_diff(found: Mapping[str, Any]) -> str:
    """What `pipeline diff` prints."""
    components = [
        f"{what:<10}  component {name}"
        for what in ("added", "removed", "changed")
        for name in found["components"][what]
    ]
    return "\n".join([say_changes(found["changes"]), *(components or ["no component changed"])])


def say_outdated(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `pipeline outdated` prints: a table, and then why something does not fit."""
    shown = [
        {
            **row,
            "newest": row["newest"] or "-",
            "newest_compatible": row["newest_compatible"] or "-",
            "state": _say_state(row),
        }
        for row in rows
    ]
    why = [f"{row['name']} {row['newest']}: {line}" for row in rows for line in row["breaks"]] + [
        f"{row['name']}: {row['problem']}" for row in rows if row["problem"]
    ]
    columns = ["name", "tag", "newest", "newest_compatible", "state"]
    return "\n".join([table(shown, columns, "The lock file is empty."), *why])


def _say_state(row: Mapping[str, Any]) -> str:
    if row["problem"]:
        return "not found"
    if row["newest"] is None:
        return "up to date"
    return "compatible" if row["compatible"] else "breaking"


def _say_ports(side: str, ports: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, port in ports.items():
        row = {"name": name, "type": port["type"], "about": port.get("description", "")}
        if side == "inputs":
            row["need"] = _say_need(port)
        rows.append(row)
    columns = ["name", "type", *(["need"] if side == "inputs" else []), "about"]
    return f"{side}\n" + table(rows, columns, "none")


def _say_need(port: Mapping[str, Any]) -> str:
    if "default" in port:
        return f"default {json.dumps(port['default'])}"
    return "optional" if port["optional"] else "required"


def _say_move(move: Mapping[str, Any]) -> str:
    before, after = (move[side] and _short(move[side]) for side in ("before", "after"))
    if after is None:
        return f"deleted, from {before}"
    return f"from {before} to {after}" if before else f"to {after}"


def _say_consumer(one: Mapping[str, Any]) -> str:
    where = f"{one['repository']}/{one['package']}"
    return f"{where}@{', '.join(one['tags']) or _short(one['digest'])}"


def _short(text: str) -> str:
    return text[7:19] if text.startswith("sha256:") else text
