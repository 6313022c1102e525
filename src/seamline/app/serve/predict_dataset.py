"""Fill a table: the rows of a dataset version, answered by what is live, are one of another.

Loading, checks of the inputs and log are those of the endpoint. What was asked for is known by its
contents: the same again is the version that it has made; killed anywhere, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.app.serve.bulk_answer import Answers, Batch, answer_all, read_answers
from seamline.app.serve.bulk_job import JobFolder, Portion
from seamline.app.serve.bulk_output import plan_output
from seamline.app.serve.bulk_source import BulkSource
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, Stage, take_in
from seamline.data.outputs import delivery_key, version_of_delivery
from seamline.data.select import parse_joins
from seamline.data.sources.batches import Delivery
from seamline.data.versions import DatasetVersion, find_dataset, find_version, version_row
from seamline.data.versions.read import check_kept
from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput, NotFound, not_found
from seamline.domain.facts import DatasetVersionCommitted
from seamline.promote.environments import TRAINING
from seamline.serve.snapshots.snapshot import (
    EndpointSpec,
    ServingSnapshot,
    read_snapshot,
    snapshot_path,
)
from seamline.store.canonical import digest_of_json
from seamline.store.facts import read_facts


def predict_dataset(
    platform: Platform,
    model: str,
    data: str,
    to: str,
    environment: str,
    *,
    by: str,
    query: str | None = None,
) -> dict[str, Any]:
    """The version that it made, as JSON, with `is_new`, `answered_by` (twin or model) and
    `input_breaches` (inputs that break the contract of the training data, and were answered all
    the same).

    `model`: an endpoint of `environment`, or what answers there; `query`: one SELECT over `data`.
    Raises NotFound, InvalidInput (a row that the endpoint would refuse), Refused, Conflict, or what
    the model's process ends by.
    """
    snapshot = _live(platform, environment)
    spec = _endpoint(snapshot, model)
    version = find_version(platform.stores, data)
    check_kept(platform.stores, version)
    declared = _declared(platform, version.dataset)
    source = _source(platform, version, query, declared)
    name = to if environment == TRAINING else f"{to}-{environment}"
    digest = _digest(snapshot, spec, source, name, declared)
    with platform.ingests.telling(name) as stage:
        folder = JobFolder(platform.root / "batch" / digest.removeprefix("sha256:")[:32])
        with folder.alone():
            found = _made_before(platform, platform.declarations().datasets.get(to), name, digest)
            if found is not None:
                folder.remove()
                return _told(found, is_new=False)
            with folder.given_up_unless_begun():
                portions = _plan(source, folder)
                columns = source.columns(folder.rows, [portions[0].files[0].file])
                output, kept = plan_output(platform, source, spec, declared, columns, to, name)
                batch = Batch(
                    platform, snapshot, spec, source, digest, folder, portions,
                    tuple(columns), kept, by,
                    tell=lambda done, total: stage(Stage.PREDICTING, done, total),
                )  # fmt: skip
                answers = answer_all(batch)
            in_days = source.query is None and output.day_columns == declared.day_columns
            delivery = replace(_delivery(batch), in_days=in_days)
            result = take_in(platform.stores, output, delivery, _bringer(batch, by))
            folder.remove()
    return _told(result.version, answers, is_new=result.is_new)


def _source(
    platform: Platform, version: DatasetVersion, query: str | None, declared: DatasetDeclaration
) -> BulkSource:
    """NotFound, with the nearest name, for what is joined and is not there."""
    if query is None:
        return BulkSource(platform.stores, version, None)
    select = parse_joins(query, version.dataset)
    first, others = select.tables[:1], select.tables[1:]
    for table in first:
        named = find_version(platform.stores, table.reference) if table.is_pinned else version
        if named.reference != version.reference:
            raise InvalidInput(
                f"The query reads {named.reference}, and --data is {version.reference}.",
                next_step=f"Name the same version in both, or write FROM {version.dataset}.",
            )
    joined = {}
    for table in others:
        joined[table.reference] = find_version(platform.stores, table.reference)
        check_kept(platform.stores, joined[table.reference])
    return BulkSource(platform.stores, version, select, joined, declared.keys)


def _told(
    version: DatasetVersion, answers: Answers | None = None, *, is_new: bool
) -> dict[str, Any]:
    found = answers or Answers("", {})
    told = {"is_new": is_new, "answered_by": found.by, "input_breaches": found.breaches}
    return {**version.to_json(), **told}


def _digest(
    snapshot: ServingSnapshot,
    spec: EndpointSpec,
    source: BulkSource,
    to: str,
    declared: DatasetDeclaration,
) -> Digest:
    """Of what is asked for: which bytes answer which rows, where to."""
    joined = {name: [one.reference, one.digest] for name, one in source.joined.items()}
    asked = {
        "environment": snapshot.environment,
        "release": snapshot.release,
        "endpoint": spec.endpoint,
        "package": spec.package_digest,
        "data": source.version.digest,
        "dataset": source.version.reference,
        "query": None if source.query is None else source.query.text,
        **({"joined": joined} if joined else {}),
        "to": to,
        "kept": [*declared.keys, *declared.day_columns],
    }
    return Digest(digest_of_json(asked))


def _plan(source: BulkSource, folder: JobFolder) -> list[Portion]:
    portions = folder.plan(lambda: source.find_files(folder.rows), source.stores.clock)
    if not portions:
        raise InvalidInput(
            f"{source.described} has no rows.",
            next_step="Name a version that has some, or ask another query.",
        )
    return portions


def _declared(platform: Platform, dataset: str) -> DatasetDeclaration:
    with platform.stores.db.read() as connection:
        found = find_dataset(connection, dataset)
    if found is None:
        raise not_found("dataset", dataset, [])
    return found.declaration


def _live(platform: Platform, environment: str) -> ServingSnapshot:
    path = snapshot_path(platform.root, environment)
    try:
        snapshot = read_snapshot(path, platform.key.public)
    except NotFound:
        snapshot = None
    if snapshot is None or not snapshot.release:
        raise NotFound(
            f"Nothing is live in {environment}.",
            next_step="Promote a release there; outside of dataops only what is live runs.",
        )
    return snapshot


def _endpoint(snapshot: ServingSnapshot, model: str) -> EndpointSpec:
    for spec in snapshot.endpoints:
        if spec.endpoint == model:
            return spec
    answering = [spec for spec in snapshot.endpoints if spec.model == model]
    if len(answering) == 1:
        return answering[0]
    names = [spec.endpoint for spec in answering or snapshot.endpoints]
    raise not_found(f"endpoint of {snapshot.environment}", model, names)


def _made_before(
    platform: Platform, wanted: DatasetDeclaration | None, to: str, digest: Digest
) -> DatasetVersion | None:
    declared = DatasetDeclaration(to) if wanted is None else replace(wanted, name=to)
    with platform.stores.db.read() as connection:
        newest = version_row(connection, to)
        key = delivery_key(connection, declared, digest, newest)
        return version_of_delivery(connection, to, key, digest, None)


def _delivery(batch: Batch) -> Delivery:
    def batches() -> Iterator[pl.DataFrame]:
        return (read_answers(batch, one) for one in batch.portions)

    snapshot = batch.snapshot
    return Delivery(
        name=f"predictions of {batch.spec.endpoint} ({snapshot.release_alias}, "
        f"{snapshot.environment}) for {batch.source.described}",
        digest=batch.digest,
        schema=next(batches()).schema,
        batches=batches,
        rows=sum(one.rows for one in batch.portions),
    )


def _bringer(batch: Batch, by: str) -> Bringer:
    """Caused by the version that was read (law 6)."""
    version, stores = batch.source.version, batch.platform.stores
    with stores.db.read() as connection:
        facts = read_facts(
            connection, kinds=[DatasetVersionCommitted.kind], subject=version.dataset
        )
    mine = [one.id for one in facts if one.body["version"] == version.version]
    return Bringer(by, caused_by=mine[-1] if mine else None)
