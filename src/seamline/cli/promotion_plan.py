"""What a promotion would do, for people."""

from __future__ import annotations

from typing import Any

from seamline.cli.command import table
from seamline.domain.digests import short


def plan_text(plan: dict[str, Any]) -> str:
    """The outcome first, then why, then what would change."""
    where = f"{plan['release_alias']} to {plan['environment']}"
    lines = [f"{where}: {_OUTCOMES[plan['would']]}"]
    if plan["refused"]:
        lines.append(f"  {plan['refused']}")
    lines += [f"  waits for {reason}" for reason in plan["waits"]]
    lines += [f"  takes over from promotion {one}" for one in plan["supersedes"]]
    lines += ["", table(plan["gates"], ["gate", "verdict", "sentence"], "No gates.")]
    if plan["approvers"]:
        lines += ["", "who may approve:"]
        lines += [f"  {one['name']}: {one['why_not'] or 'yes'}" for one in plan["approvers"]]
    lines += ["", f"instead of {plan['live'] or 'nothing'}:"]
    lines += [f"  {change_text(one)}" for one in plan["changes"]] or ["  the same contents"]
    if plan["deployments"]:
        lines += ["", f"answered by it: {', '.join(plan['deployments'])}"]
    return "\n".join(lines)


_OUTCOMES = {
    "refused": "could not be asked for",
    "errored": "would end as errored: a gate broke",
    "failed": "would end as failed: a gate is shut",
    "awaiting_approval": "would wait",
    "live": "would go live",
}


def change_text(change: dict[str, Any]) -> str:
    """
    >>> pin = {"name": "m", "version": "1.0.0", "digest": "sha256:" + "a" * 64}
    >>> change_text({"kind": "package", "name": "m", "before": None, "after": pin})
    '+ package m 1.0.0 (aaaaaaaaaaaa)'
    """
    before, after = change["before"], change["after"]
    sign = "+" if before is None else "-" if after is None else "~"
    pins = [f"{one['version']} ({short(one['digest'])})" for one in (before, after) if one]
    return f"{sign} {change['kind']} {change['name']} {' → '.join(pins)}"
