"""Two versions of a model, two runs or two releases: which evaluations hold them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seamline.app.evaluate.judged_run import is_run, model_of_run
from seamline.app.platform import Platform
from seamline.app.register.compare_models import parse_model_reference
from seamline.app.register.model_aliases import find_model
from seamline.domain.errors import InvalidInput, NotFound
from seamline.evaluate.evaluations import list_evaluations
from seamline.evaluate.show import show_evaluation
from seamline.promote.release import Pin, StoredRelease, find_release
from seamline.register.models.catalogue import ModelVersion


@dataclass(frozen=True)
class Pair:
    """Versions `before` and `after` of a model; runs where these are what is compared."""

    model: str
    before: ModelVersion
    after: ModelVersion
    before_run: str | None = None
    after_run: str | None = None


def compare(platform: Platform, before: str, after: str) -> dict[str, Any]:
    """`pairs`: each with the newest evaluation of `after` against `before`, or None: nobody has
    compared the two yet. `notes`: what the two do not share."""
    pairs, notes = _pairs(platform, before, after)
    return {
        "before": before,
        "after": after,
        "pairs": [_show(platform, pair) for pair in pairs],
        "notes": notes,
    }


def _show(platform: Platform, pair: Pair) -> dict[str, Any]:
    found = next(
        (
            one
            for one in list_evaluations(platform.stores, pair.model, pair.after.version)
            if one.against == pair.before.version and _is_of(pair, one.evidence)
        ),
        None,
    )
    return {
        "model": pair.model,
        "before": pair.before.version,
        "after": pair.after.version,
        "before_run": pair.before_run,
        "after_run": pair.after_run,
        "evaluation": None if found is None else show_evaluation(platform.stores, found.id),
    }


def _is_of(pair: Pair, evidence: Any) -> bool:
    """Whether these wheels, and these runs where runs are compared, are what was judged."""
    sides = (
        (evidence["candidate"], pair.after, pair.after_run),
        (evidence["incumbent"], pair.before, pair.before_run),
    )
    return all(
        side["wheel_digest"] == version.wheel_digest and run in (None, side.get("run_id"))
        for side, version, run in sides
    )


def _pairs(platform: Platform, before: str, after: str) -> tuple[list[Pair], list[str]]:
    if is_run(platform, before) and is_run(platform, after):
        return [_pair_of_runs(platform, before, after)], []
    old, new = (_release(platform, one) for one in (before, after))
    if old is not None and new is not None:
        return _pairs_of_releases(platform, old, new)
    if (old is None) is not (new is None) and "==" not in before + after:
        _refuse_release(platform, before if old is None else after)
    name, old_version = parse_model_reference(before)
    other, new_version = parse_model_reference(after, of=name)
    if other != name:
        raise InvalidInput(
            f"{before} and {after} are no two versions of one model, no two runs and no two "
            "releases.",
            next_step="Write NAME==VERSION NAME==VERSION, RUN RUN, or RELEASE RELEASE.",
        )
    first = find_model(platform.stores, name, old_version)
    return [Pair(name, first, find_model(platform.stores, name, new_version))], []


def _pair_of_runs(platform: Platform, before: str, after: str) -> Pair:
    old, new = model_of_run(platform, before), model_of_run(platform, after)
    if old.model != new.model:
        raise InvalidInput(
            f"Run {before} predicted with {old.model}, run {after} with {new.model}.",
            next_step="Compare two runs of one model.",
        )
    return Pair(new.model, old, new, before, after)


def _release(platform: Platform, reference: str) -> StoredRelease | None:
    if "==" in reference:
        return None
    with platform.stores.db.read() as connection:
        try:
            return find_release(connection, reference)
        except NotFound:
            return None


def _refuse_release(platform: Platform, reference: str) -> None:
    """The other is one: NotFound names the nearest."""
    with platform.stores.db.read() as connection:
        find_release(connection, reference)


def _pairs_of_releases(
    platform: Platform, before: StoredRelease, after: StoredRelease
) -> tuple[list[Pair], list[str]]:
    old = {pin.name: pin for pin in before.release.packages}
    new = {pin.name: pin for pin in after.release.packages}
    pairs, notes = [], []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            where = after if name in new else before
            notes.append(f"{name}: only in {where.alias}")
        elif old[name].digest == new[name].digest:
            notes.append(f"{name}: {new[name].version} in both")
        else:
            pairs.append(_pair_of_pins(platform, old[name], new[name]))
    return pairs, notes


def _pair_of_pins(platform: Platform, old: Pin, new: Pin) -> Pair:
    found = [find_model(platform.stores, pin.name, pin.version) for pin in (old, new)]
    return Pair(new.name, found[0], found[1])
