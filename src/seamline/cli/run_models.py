"""What has become of the models that a run was to make, in words; and waiting for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seamline.cli.client import Client
from seamline.cli.following import Patient
from seamline.cli.run_words import plain
from seamline.domain.errors import Refused

_HOLD_S = 20.0
#: Of a run that makes more, so many are named: those that are none before those that are.
_MOST_MODELS = 10
#: In the one sentence of an error.
_MOST_TOLD = 3
_PACKAGED, _REFUSED, _PACKAGING = "packaged", "refused", "packaging"
Outcome = Mapping[str, Any]


def read_models(client: Client, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/runs/{run_id}/models")
    return found


def await_models(client: Client, run_id: str) -> list[dict[str, Any]]:
    """Once nothing of an ended run is left to be packaged, or it has gone wrong: then it is tried
    again, nobody knows how often."""
    patient = Patient(client)
    path = f"/runs/{run_id}/models"
    found = patient.get(path)
    while any(one["state"] == _PACKAGING and not one["reason"] for one in found):
        found = patient.get(path, wait_s=_HOLD_S)
    return list(found)


def refusal_of(run_id: str, state: str, models: Sequence[Outcome]) -> Refused | None:
    """What to raise when not all that a run was to make is a model: somebody waits for it."""
    missing = [one for one in models if one["state"] != _PACKAGED]
    if not missing:
        return None
    told = "; ".join(say_model(one) for one in missing[:_MOST_TOLD])
    more = len(missing) - _MOST_TOLD
    return Refused(
        f"Run {run_id} {state}, but {told}" + (f"; … {more:,} more" * (more > 0)),
        next_step=f"See what it made: seamline run show {run_id}.",
    )


def say_models(run_id: str, models: Sequence[Outcome]) -> str:
    """
    >>> made = {"model": "ice-cream", "state": "packaged", "version": "1.0.0", "reason": ""}
    >>> evil = {"model": "evil", "state": "refused", "version": None, "reason": "It runs code."}
    >>> print(say_models("0195", [made, evil]))
    models (1 packaged, 1 refused)
      evil was refused: It runs code.
      ice-cream==1.0.0
    """
    if not models:
        return ""
    counts = dict.fromkeys((_PACKAGED, _REFUSED, _PACKAGING), 0)
    for one in models:
        counts[one["state"]] += 1
    told = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    shown = sorted(models, key=lambda one: one["state"] == _PACKAGED)[:_MOST_MODELS]
    lines = [f"models ({told})", *(f"  {say_model(one)}" for one in shown)]
    if len(models) > len(shown):
        rest = len(models) - len(shown)
        lines.append(f"  … and {rest:,} more: seamline model list --run {run_id}")
    return "\n".join(lines)


def say_model(one: Outcome) -> str:
    """
    >>> going = {"model": "fares", "state": "packaging", "version": None, "reason": ""}
    >>> say_model(going)
    'fares is still being packaged'
    >>> say_model({**going, "reason": "No index answers."})
    'fares is not packaged yet, and it is tried again: No index answers.'
    """
    name, reason = plain(one["model"]), plain(" ".join(str(one["reason"]).split()))
    if one["state"] == _PACKAGED:
        return f"{name}=={one['version']}"
    if one["state"] == _REFUSED:
        return f"{name} was refused: {reason}"
    if reason:
        return f"{name} is not packaged yet, and it is tried again: {reason}"
    return f"{name} is still being packaged"
