"""What differs between two model versions: what they were told, gave, and were made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seamline.app.platform import Platform
from seamline.app.references import split_reference
from seamline.app.register.model_aliases import find_model
from seamline.data.versions import DatasetVersion, find_version, list_versions
from seamline.domain.errors import InvalidInput, NotFound
from seamline.register.models.catalogue import ModelVersion


def parse_model_reference(text: str, *, of: str = "") -> tuple[str, str | None]:
    """As packages are written; NAME@VERSION is understood, too. `of`: the model that a version
    alone is of.

    >>> parse_model_reference("air-time==1.0.1"), parse_model_reference("air-time")
    (('air-time', '1.0.1'), ('air-time', None))
    >>> parse_model_reference("1.0.2", of="air-time")
    ('air-time', '1.0.2')
    """
    name, version = split_reference(text)
    if not name:
        raise InvalidInput(f"{text!r} names no model.", next_step="Write NAME==VERSION, or NAME.")
    # No model's name begins with a digit.
    return (of, name) if of and version is None and name[0].isdigit() else (name, version)


def diff_models(platform: Platform, before: str, after: str) -> dict[str, Any]:
    """Section → name → [before, after], only of what differs; None stands for what is not there.

    A metric's entry has the difference as a third value. `datasets` says of each data set which
    versions lie between the two, and how many rows they have.
    """
    stores = platform.stores
    old = find_model(stores, *parse_model_reference(before))
    new = find_model(stores, *parse_model_reference(after, of=old.model))
    return {
        "before": _name(old),
        "after": _name(new),
        "same_payload": old.payload_digest == new.payload_digest,
        **{
            section: differences(first, second)
            for section, (first, second) in _sections(old.document, new.document).items()
        },
        "metrics": {
            name: [*pair, _minus(*pair)]
            for name, pair in differences(old.document["metrics"], new.document["metrics"]).items()
        },
        "datasets": _datasets(platform, old, new),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """
    >>> differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    {'b': [2, 3], 'c': [None, 4]}
    """
    names = [*old, *(name for name in new if name not in old)]
    return {
        name: [old.get(name), new.get(name)]
        for name in names
        if (name in old, old.get(name)) != (name in new, new.get(name))
    }


def lock_of(requirements: Iterable[str]) -> dict[str, str]:
    """Distribution → what of it.

    >>> lock_of(["scikit-learn==1.9.1", "numpy"])
    {'scikit-learn': '==1.9.1', 'numpy': ''}
    """
    found = {}
    for text in requirements:
        requirement = Requirement(text)
        found[str(canonicalize_name(requirement.name))] = str(requirement.specifier)
    return found


Sections = dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]


def _sections(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sections:
    documents = (old, new)
    parameters = [one.get("estimator", {}).get("parameters", {}) for one in documents]
    inputs, outputs = (
        [{column["name"]: column for column in one["signature"][part]} for one in documents]
        for part in ("inputs", "outputs")
    )
    sources = [one.get("code", {}).get("files", {}) for one in documents]
    locks = [lock_of(one["requirements"]) for one in documents]
    lineages = [_lineage(one) for one in documents]
    splits = [_splits(one) for one in documents]
    components = [_components(one) for one in documents]
    return {
        "model": (_described(old), _described(new)),
        "parameters": (
            {**parameters[0], **old["parameters"]},
            {**parameters[1], **new["parameters"]},
        ),
        "inputs": (inputs[0], inputs[1]),
        "outputs": (outputs[0], outputs[1]),
        "code": (sources[0], sources[1]),
        "arguments": (old["lineage"]["arguments"], new["lineage"]["arguments"]),
        "lock": (locks[0], locks[1]),
        "lineage": (lineages[0], lineages[1]),
        "splits": (splits[0], splits[1]),
        "components": (components[0], components[1]),
    }


def _described(document: Mapping[str, Any]) -> dict[str, Any]:
    kind = document.get("estimator", {}).get("class")
    names = ("task", "format", "threshold", "requires_python")
    return {**{name: document[name] for name in names}, "class": kind}


def _lineage(document: Mapping[str, Any]) -> dict[str, Any]:
    names = ("pipeline", "pipeline_digest", "commit", "run_id", "trained_at")
    found = {name: document["lineage"][name] for name in names}
    return {**found, "executor": document.get("training", {}).get("fidelity")}


def _splits(document: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["digest"] for one in document.get("training", {}).get("inputs", [])}


def _components(document: Mapping[str, Any]) -> dict[str, str]:
    used = document.get("training", {}).get("components", [])
    return {one["name"]: one["digest"] for one in used}


def _datasets(platform: Platform, old: ModelVersion, new: ModelVersion) -> dict[str, Any]:
    first, second = _used(old), _used(new)
    return {
        name: _between(platform, name, before, after)
        for name, (before, after) in differences(first, second).items()
    }


def _used(model: ModelVersion) -> dict[str, int]:
    """Data set → the version that the model read; the newest where it read several."""
    found: dict[str, int] = {}
    for one in model.document["lineage"]["dataset_versions"]:
        found[one["name"]] = max(int(one["version"]), found.get(one["name"], 0))
    return found


def _between(
    platform: Platform, name: str, before: int | None, after: int | None
) -> dict[str, Any]:
    versions: list[DatasetVersion] = []
    ends = sorted(number for number in (before, after) if number is not None)
    with suppress(NotFound):
        if len(ends) == 2:
            known = list_versions(platform.stores, name)
            versions = [one for one in known if ends[0] < one.version <= ends[1]]
    return {
        "before": _show(platform, name, before),
        "after": _show(platform, name, after),
        "between": [_say(one) for one in sorted(versions, key=lambda one: one.version)],
    }


def _show(platform: Platform, name: str, number: int | None) -> dict[str, Any] | None:
    if number is None:
        return None
    try:
        return _say(find_version(platform.stores, f"{name}@{number}"))
    except NotFound:
        return {"version": number}


def _say(version: DatasetVersion) -> dict[str, Any]:
    names = ("version", "rows", "rows_added", "source", "digest", "at")
    return {name: getattr(version, name) for name in names}


def _name(model: ModelVersion) -> str:
    return f"{model.model}=={model.version}"


def _minus(old: Any, new: Any) -> float | None:
    numbers = all(isinstance(one, int | float) for one in (old, new))
    return new - old if numbers else None
