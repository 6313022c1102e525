"""The chain behind one prediction: from the answer back to the data and the commit (law 6)."""

from __future__ import annotations

from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.app.serve.bulk_features import FeaturesPlace, find_features
from seamline.domain.digests import short
from seamline.domain.promote_facts import ApprovalGiven, EnvironmentChanged
from seamline.evaluate.evaluations import list_evaluations
from seamline.promote.release import find_release
from seamline.register.models.catalogue import ModelVersion, find_model_version
from seamline.serve.log.tables import feedback_of, find_prediction
from seamline.store.facts import read_facts
from seamline.train.runs import show_run


def explain_prediction(platform: Platform, prediction_id: str) -> dict[str, Any]:
    row, rows_link = _with_features(platform, find_prediction(platform.stores, prediction_id))
    version = find_model_version(platform.stores, str(row["model"]), str(row["model_version"]))
    chain = [
        _link(
            "prediction",
            f"{prediction_id} by {row['endpoint']} in {row['environment']}"
            f"{_said('on', row['plane'])} at {row['at']}{_said('asked by', row['principal'])}: "
            f"{row['outputs']}",
        ),
        *rows_link,
        *_feedback_link(feedback_of(platform.stores, row)),
        _link(
            "model",
            f"{version.model} {version.version}, wheel {short(str(row['model_digest']))}",
        ),
        *_release_links(platform, str(row["release"]), str(row["environment"])),
        *_evaluation_links(platform, version),
        *_training_links(platform, version),
    ]
    return {"prediction": {**row, "at": str(row["at"]), "ds": str(row["ds"])}, "chain": chain}


def _with_features(
    platform: Platform, row: dict[str, object]
) -> tuple[dict[str, object], list[dict[str, str]]]:
    """Of a batch the log says where they lie; and a link that says it in words."""
    if row["features_from"] is None:
        return row, []
    place = FeaturesPlace.from_text(str(row["features_from"]))
    frame = pl.DataFrame([row]).select("row", pl.col("features").cast(pl.String), "features_from")
    found = find_features(platform.stores, frame)
    where = f"row {place.row + int(str(row['row']))} of {place.file} in {place.dataset}"
    told = f"{where}, file {short(place.digest)}" + (f": {found.gone}" if found.gone else "")
    return {**row, "features": found.rows["features"].item()}, [_link("row", told)]


def _feedback_link(said: list[dict[str, object]]) -> list[dict[str, str]]:
    """The last word, which is what counts; nothing where nothing was said.

    >>> said = {"truth": "1", "reward": None, "plane": None, "at": "10:00", "principal": "ada"}
    >>> _feedback_link([said, said])[0]["sentence"]
    'truth 1 at 10:00, sent by ada; said 2 times, the last word counts'
    """
    if not said:
        return []
    last = said[-1]
    told = [f"{name} {last[name]}" for name in ("truth", "reward") if last[name] is not None]
    before = f"; said {len(said):,} times, the last word counts" if len(said) > 1 else ""
    return [
        _link(
            "feedback",
            f"{', '.join(told)}{_said('on', last['plane'])} at {last['at']}"
            f"{_said('sent by', last['principal'])}{before}",
        )
    ]


def _release_links(platform: Platform, digest: str, environment: str) -> list[dict[str, str]]:
    with platform.stores.db.read() as connection:
        release = find_release(connection, digest)
        changed = [
            fact
            for fact in read_facts(connection, kinds=[EnvironmentChanged.kind], subject=environment)
            if fact.body["release"] == digest
        ]
        promotion = changed[-1].body["promotion_id"] if changed else ""
        approvals = read_facts(connection, kinds=[ApprovalGiven.kind], subject=promotion)
    links = [
        _link("release", f"{release.alias} {short(digest)}, made by {release.created_by}"),
        *(
            _link("approval", f"{one.by} at {one.at} for {environment} (promotion {promotion})")
            for one in approvals
        ),
    ]
    return links if approvals else [*links, _link("approval", f"{environment} asks for none")]


def _evaluation_links(platform: Platform, version: ModelVersion) -> list[dict[str, str]]:
    return [
        _link("evaluation", f"{one.id} on {one.data}: {one.verdict} (evidence {short(one.digest)})")
        for one in list_evaluations(platform.stores, version.model, version.version)[:3]
    ]


def _training_links(platform: Platform, version: ModelVersion) -> list[dict[str, str]]:
    run = show_run(platform.stores, version.run_id)
    lineage = version.document["lineage"]
    return [
        _link("run", f"{run['id']} of {run['pipeline']}, requested by {run['requested_by']}"),
        *(
            _link("dataset", f"{one['name']}@{one['version']} {short(one['digest'])}")
            for one in lineage["dataset_versions"]
        ),
        _link(
            "commit",
            (lineage["commit"] or "none was told when the pipeline was published")
            + f" (pipeline {short(lineage['pipeline_digest'])})",
        ),
    ]


def _said(words: str, name: object) -> str:
    """Nothing of a caller who was asked for no token, nor of the workspace's own data plane."""
    return "" if name is None else f", {words} {name}"


def _link(step: str, sentence: str) -> dict[str, str]:
    return {"step": step, "sentence": sentence}
