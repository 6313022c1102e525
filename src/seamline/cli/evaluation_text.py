"""Evaluations as text: a table of metrics, the checks with their sentences, what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seamline.cli.command import table
from seamline.evaluate.wording import say_value
from seamline.measure.evaluation.estimates import Estimate

#: Slices of a search, and slices worse than the incumbent, that one screen shows.
SHOWN_WORST = 8
RIVALS = ("incumbent", "baseline")
PASS, FAIL, UNDECIDED = 0, 1, 2
_EXIT = {"pass": PASS, "fail": FAIL}


def exit_code(verdicts: Sequence[str]) -> int:
    """0 when all pass, 1 when one fails, 2 when that cannot be told.

    >>> exit_code(["pass"]), exit_code(["pass", "inconclusive", "fail"]), exit_code(["error"])
    (0, 1, 2)
    """
    codes = {_EXIT.get(one, UNDECIDED) for one in verdicts}
    return FAIL if FAIL in codes else max(codes, default=UNDECIDED)


def say_evaluation(found: Mapping[str, Any]) -> str:
    against = f" against {found['against']}" if found["against"] else ""
    name = f"{found['model']} {found['model_version']}"
    lines = [f"{name} on {found['data']}{against}: {found['verdict']}", "", _metrics(found), ""]
    lines += [f"check {one['sentence']}" for one in _checks(found)] or ["no checks are declared"]
    lines += _worst(found)
    lines += [one for one in found["sentences"] if not _is_said(one, found)]
    return "\n".join([*lines, f"evaluation {found['id']}"])


def _checks(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*found["evidence"]["checks"], *found["evidence"]["against_checks"]]


def _is_said(sentence: str, found: Mapping[str, Any]) -> bool:
    """Metrics stand in the table, and checks have lines of their own."""
    names = tuple(f"{one['metric']} " for one in found["metrics"])
    return sentence.startswith(("check ", "no checks are", *names))


def _metrics(found: Mapping[str, Any]) -> str:
    """Those that checks name, with the rivals' differences."""
    shown = [one for one in found["metrics"] if one["is_headline"]] or found["metrics"]
    rivals = [name for name in RIVALS if any(name in one["rivals"] for one in shown)]
    rows = []
    for one in shown:
        row = {"metric": one["metric"], "value": say(one["estimate"])}
        for name in rivals:
            rival = one["rivals"].get(name)
            row[name] = say(rival["estimate"]) if rival else "-"
            row[f"vs {name}"] = say(rival["difference"], signed=True) if rival else "-"
        rows.append(row)
    columns = ["metric", "value", *(text for name in rivals for text in (name, f"vs {name}"))]
    return table(rows, columns, "No metric could be computed.")


def say(estimate: Mapping[str, Any], *, signed: bool = False) -> str:
    return say_value(Estimate.from_json(estimate), signed=signed)


def _worst(found: Mapping[str, Any]) -> list[str]:
    worst = found["worst"]
    if not worst:
        searched = found["n_searched"]
        return [f"no slice of {searched:,} looked at is worse for sure"] if searched else []
    lines = [
        f"worst: {one['slice']}={one['value']}, {one['metric']} {one['value_there']:.3g}, worse "
        f"than {one['against']} by {say(one['excess'])}"
        for one in worst[:SHOWN_WORST]
    ]
    more = len(worst) - SHOWN_WORST
    return [*lines, f"… and {more} more: --json has all"] if more > 0 else lines
