"""A model version, and the difference between two, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from seamline.cli.command import record, table

#: Of long lists so many entries are shown; --json has them all.
MAX_LINES = 40
_HEAD = ("model", "version", "format", "class", "loading", "payload_digest", "wheel_digest", "twin")
_ORIGIN = (
    *("pipeline", "pipeline_digest", "commit", "run", "cached_from", "task", "executor"),
    *("started_at", "ended_at", "trained_by", "previous_version"),
)
_ORIGIN_OF_ITS_OWN = tuple(one for one in _ORIGIN if one != "cached_from")
_SECTIONS = (
    "model",
    "parameters",
    "inputs",
    "outputs",
    "code",
    "arguments",
    "lineage",
    "splits",
    "components",
    "lock",
)


def say_model(found: Mapping[str, Any]) -> str:
    """All that model.json knows, section by section."""
    document: dict[str, Any] = found["document"]
    training, read = document.get("training", {}), document.get("estimator", {})
    lineage = document["lineage"]
    head = {
        **found,
        "format": document["format"],
        "class": read.get("class"),
        "loading": document.get("loading", {}).get("verdict"),
    }
    origin = {
        **lineage,
        "run": lineage["run_id"],
        "executor": training.get("fidelity"),
        "started_at": training.get("started_at"),
        "ended_at": training.get("ended_at") or lineage["trained_at"],
        "trained_by": training.get("requested_by"),
    }
    return "\n".join(
        [
            record(head, _HEAD),
            *_table("signature", _columns(document), _said_of(document)),
            *_pairs("code", document.get("code", {}).get("files", {})),
            *_pairs("parameters", {**read.get("parameters", {}), **document["parameters"]}),
            *_pairs("fitted", read.get("fitted", {})),
            *_metrics(found, training),
            "\ntraining",
            record(origin, _ORIGIN if lineage.get("cached_from") else _ORIGIN_OF_ITS_OWN),
            *_pairs("arguments", lineage["arguments"]),
            *_table("data", lineage["dataset_versions"], ("name", "version", "digest")),
            *_table("read by the task", training.get("inputs", []), ("name", "type", "digest")),
            *_table(
                "components",
                training.get("components", []),
                ("name", "digest", "image", "image_digest"),
            ),
            *_lines("requirements", document["requirements"]),
            *_lines("trained with", training.get("packages", [])),
        ]
    )


def say_diff(found: Mapping[str, Any]) -> str:
    """Only what differs; one line when nothing does."""
    before, after = found["before"], found["after"]
    lines = [f"{before} → {after}"]
    for section in _SECTIONS:
        lines += _changes(section, found[section])
    lines += _changes("metrics", found["metrics"])
    for name, one in found["datasets"].items():
        lines += [f"\ndata: {name}", *_data(one)]
    if found["same_payload"]:
        lines.append("\nThe model itself is the same, byte for byte.")
    if len(lines) == 1:
        lines.append("Nothing differs but the payload.")
    return "\n".join(lines)


def _columns(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    signature = document["signature"]
    inputs = [{**one, "as": "input"} for one in signature["inputs"]]
    return [*inputs, *({**one, "as": "output"} for one in signature["outputs"])]


def _said_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What the table of columns says; of units only where one is known."""
    has_units = any("unit" in one for one in _columns(document))
    return ("name", "datatype", "nullable", *(["unit"] if has_units else []), "as")


def _metrics(found: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    measured = training.get("metrics", {})
    lines = _pairs("metrics", found["document"]["metrics"])
    lines += _pairs("metrics of the training task", measured.get("train", {}))
    lines += _pairs("metrics of tasks that read the model", measured.get("test", {}))
    proved = found.get("evaluations", [])
    columns = ("data", "verdict", "at", "id")
    return [*lines, *(_table("evaluations", proved, columns) if proved else [])]


def _pairs(title: str, values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    shown = list(values)[:MAX_LINES]
    more = [f"… and {len(values) - MAX_LINES} more (--json)"] if len(values) > MAX_LINES else []
    return [f"\n{title}", record(dict(values), shown), *more]


def _table(title: str, rows: Iterable[dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    listed = list(rows)
    return [f"\n{title}", table(listed, columns, "")] if listed else []


def _lines(title: str, values: list[str]) -> list[str]:
    more = f" … and {len(values) - MAX_LINES} more" if len(values) > MAX_LINES else ""
    return [f"\n{title}", ", ".join(values[:MAX_LINES]) + more] if values else []


def _changes(title: str, changed: Mapping[str, list[Any]]) -> list[str]:
    rows = [
        {"": name, "before": _say_end(pair[0]), "after": _say_end(pair[1])}
        | {"change": _say_change(pair)}
        for name, pair in changed.items()
    ]
    columns = ("", "before", "after", *(["change"] if title == "metrics" else []))
    return _table(title, rows, columns)


def _say_end(value: Any) -> Any:
    """A column of a signature in words, anything else as it is.

    >>> _say_end({"name": "distance", "datatype": "FP64", "nullable": True, "unit": "mi"})
    'FP64 mi, may be missing'
    >>> _say_end(0.5)
    0.5
    """
    if not isinstance(value, dict) or "datatype" not in value:
        return value
    said = f"{value['datatype']} {value.get('unit', '')}".rstrip()
    return f"{said}, may be missing" if value.get("nullable") else said


def _say_change(pair: list[Any]) -> str:
    """
    >>> _say_change([0.5, 0.75, 0.25]), _say_change([1, None, None])
    ('+0.25', '')
    """
    change = pair[2] if len(pair) > 2 else None
    return "" if change is None else f"{change:+.6g}"


def _data(one: Mapping[str, Any]) -> list[str]:
    said = [
        f"{end}: version {which['version']}, {which.get('rows', '?')} rows"
        if which
        else f"{end}: -"
        for end, which in (("before", one["before"]), ("after", one["after"]))
    ]
    columns = ("version", "rows", "rows_added", "source", "digest")
    between = [table(one["between"], columns, "")] if one["between"] else []
    return [*said, *between]
