"""Facts as sentences: who said it and when stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamline.console.words import say_times
from seamline.domain.digests import short

#: kind → sentence; what a fact of an earlier version did not say yet is left empty.
_SENTENCES = {
    "policy.applied": "the policy of {environment} became {digest}",
    "release.created": "release {release} was made",
    "release.refused": "run {run_id} made no release {name}{because}",
    "promotion.requested": "{release} was asked for in {environment}{because}",
    "rollback.requested": "{environment} was sent back from {rolled_back} to {release}{because}",
    "emergency.requested": "{release} was asked for in {environment} under broken glass",
    "promotion.moved": "{release} to {environment}: {phases}{because}",
    "gate.decided": "the gate {gate} said {verdict}, on evidence {evidence_digest}",
    "approval.given": "{release} was approved for {environment}{by_self}{in_words}",
    "approval.dismissed": "an approval was dismissed{because}",
    "environment.changed": "{environment} points at {release}, instead of {before}",
    "hold.set": "{environment} was put on hold{because}",
    "hold.lifted": "a hold on {environment} was lifted{because}",
    "glass.broken": "the glass of {environment} was broken until {until}{because}",
    "glass.mended": "the glass of {environment} was mended",
    "snapshot.written": "{environment} serves snapshot {version} of {release}",
    "principal.added": "{principal} was added as {roles}",
    "project.applied": "the project {project} was applied",
}
_LONG = 100


def say_fact(kind: str, body: Mapping[str, Any], aliases: Mapping[str, str]) -> str:
    """`aliases`: of releases, by digest.

    >>> hold = {"hold_id": "1", "environment": "staging", "release": None, "reason": "audit"}
    >>> say_fact("hold.set", hold, {})
    'staging was put on hold: audit'
    >>> say_fact("secret.set", {"environment": "staging", "name": "db", "keys": ["url"]}, {})
    'secret set: environment staging, name db, keys url'
    """
    said = {name: _plain(value, aliases) for name, value in body.items()}
    template = _SENTENCES.get(kind)
    if template is None:
        plain = ", ".join(f"{name} {value}" for name, value in said.items() if value != "nothing")
        return f"{kind.replace('.', ' ').replace('_', ' ')}: {plain}"
    return say_times(template.format_map(_Said({**said, **_derived(body)})))


class _Said(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return ""


def _derived(body: Mapping[str, Any]) -> dict[str, str]:
    parties = body.get("self_approved")
    phases = [str(body[name]).replace("_", " ") for name in ("before", "after") if body.get(name)]
    return {
        "because": f": {body['reason']}" if body.get("reason") else "",
        "in_words": f": “{body['comment']}”" if body.get("comment") else "",
        "by_self": f", by its {' and '.join(parties)}" if parties else "",
        "phases": " → ".join(phases),
    }


def _plain(value: object, aliases: Mapping[str, str]) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return ", ".join(_plain(one, aliases) for one in value) or "nothing"
    text = str(value)
    if text.startswith("sha256:"):
        return aliases.get(text) or short(text)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"
