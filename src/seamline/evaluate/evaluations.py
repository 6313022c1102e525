"""Evaluations on record: the evidence by digest, the scorecard as a blob, the fact."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, Select, insert, select

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import not_found
from seamline.domain.facts import EvaluationRecorded
from seamline.domain.states import Verdict
from seamline.evaluate.evaluate import EvaluationResult, headline_metrics
from seamline.evaluate.rows import EVALUATIONS
from seamline.evaluate.spec import EvaluationSpec
from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.stores import Stores


class AgainstKind(StrEnum):
    """What a recorded evaluation compared the model with."""

    NOTHING = "nothing"
    INCUMBENT = "incumbent"


@dataclass(frozen=True)
class Contender:
    """A model version, by the digest of its wheel, with the predictions that judge it, and the
    run that made them, by the digest of its pipeline."""

    model: str
    version: str
    wheel_digest: str
    predictions_digest: str
    run_id: str = ""
    pipeline_digest: str = ""

    def to_json(self) -> dict[str, str]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class DataReference:
    """A dataset version: `flights@7` and its content digest."""

    reference: str
    digest: str

    def to_json(self) -> dict[str, str]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Evaluation:
    """`digest` names `evidence`, which holds neither the id nor times or people."""

    id: str
    digest: str
    model: str
    model_version: str
    wheel_digest: str
    data: str
    against: str | None
    verdict: Verdict
    evidence: Mapping[str, Any]
    by: str
    at: str
    caused_by: str | None

    @property
    def pipeline_digest(self) -> str:
        """Of the pipeline whose run is judged; empty in evaluations of earlier versions."""
        return str(self.evidence["candidate"].get("pipeline_digest", ""))

    @property
    def is_declared(self) -> bool:
        """Whether the checks were those of the declaration, and not somebody's own."""
        return bool(self.evidence.get("is_declared", True))

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(self.evidence["sentences"])

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        return tuple(CheckResult.from_json(one) for one in self.evidence["checks"])

    @property
    def against_checks(self) -> tuple[CheckResult, ...]:
        """The checks against the incumbent, which decide a retraining."""
        return tuple(CheckResult.from_json(one) for one in self.evidence["against_checks"])

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "verdict": str(self.verdict),
            "sentences": list(self.sentences),
        }


def record_evaluation(
    stores: Stores,
    *,
    candidate: Contender,
    data: DataReference,
    spec: EvaluationSpec,
    result: EvaluationResult,
    by: str,
    incumbent: Contender | None = None,
    training: DataReference | None = None,
    caused_by: str | None = None,
    is_declared: bool = True,
) -> Evaluation:
    """Blobs first, then the row and its fact in one transaction.

    Asked again with the same evidence by the same cause, it returns what is on record.
    `training`: the rows that the baseline was learnt from. `is_declared` False: judged by checks
    that nobody has declared, which opens no gate.
    """
    evidence = _evidence(stores, candidate, incumbent, data, training, spec, result)
    evidence["is_declared"] = is_declared
    evaluation = Evaluation(
        id=new_id(stores.clock),
        digest=digest_of_json(evidence),
        model=candidate.model,
        model_version=candidate.version,
        wheel_digest=candidate.wheel_digest,
        data=data.reference,
        against=None if incumbent is None else incumbent.version,
        verdict=result.verdict,
        evidence=evidence,
        by=by,
        at=iso(stores.clock.now()),
        caused_by=caused_by,
    )
    with stores.db.transaction() as tx:
        known = _find_same(tx, evaluation)
        if known is not None:
            return known
        row = {**evaluation.__dict__, "verdict": str(evaluation.verdict)}
        tx.execute(insert(EVALUATIONS).values(**row | {"evidence": _text(evidence)}))
        stores.facts.append(tx, _fact(evaluation), by=by, caused_by=caused_by)
    return evaluation


def _fact(evaluation: Evaluation) -> EvaluationRecorded:
    return EvaluationRecorded(
        evaluation.id,
        evaluation.model,
        evaluation.model_version,
        evaluation.data,
        str(evaluation.verdict),
        evaluation.digest,
        evaluation.against,
    )


def _evidence(
    stores: Stores,
    candidate: Contender,
    incumbent: Contender | None,
    data: DataReference,
    training: DataReference | None,
    spec: EvaluationSpec,
    result: EvaluationResult,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "candidate": candidate.to_json(),
        "incumbent": None if incumbent is None else incumbent.to_json(),
        "data": data.to_json(),
        "training": None if training is None else training.to_json(),
        "spec": spec.to_json(),
        "counts": result.counts.to_json(),
        "scorecard_digest": stores.blobs.put(canonical_json(result.scorecard.to_json())),
        "cells_digest": _put_cells(stores, result.scorecard.cells),
        "headlines": headline_metrics(result.scorecard, spec),
        "checks": [check.to_json() for check in result.checks],
        "against_checks": [check.to_json() for check in result.against],
        "verdict": str(result.verdict),
        "sentences": list(result.sentences),
    }


def _text(evidence: Mapping[str, Any]) -> str:
    return canonical_json(evidence).decode()


def _put_cells(stores: Stores, cells: pl.DataFrame) -> str | None:
    if not cells.width:
        return None
    buffer = io.BytesIO()
    cells.write_parquet(buffer)
    return stores.blobs.put(buffer.getvalue())


def _find_same(tx: Connection, evaluation: Evaluation) -> Evaluation | None:
    if evaluation.caused_by is None:
        return None
    query = select(EVALUATIONS).where(
        EVALUATIONS.c.digest == evaluation.digest,
        EVALUATIONS.c.caused_by == evaluation.caused_by,
    )
    row = tx.execute(query).first()
    return None if row is None else _evaluation(row)


def find_evaluation(stores: Stores, evaluation_id: str) -> Evaluation:
    """Raises NotFound."""
    with stores.db.read() as connection:
        query = select(EVALUATIONS).where(EVALUATIONS.c.id == evaluation_id)
        row = connection.execute(query).first()
    if row is None:
        raise not_found("evaluation", evaluation_id)
    return _evaluation(row)


def list_evaluations(
    stores: Stores, model: str | None = None, version: str | None = None
) -> list[Evaluation]:
    """Newest first."""
    with stores.db.read() as connection:
        rows = connection.execute(_query(model, version)).all()
    return [_evaluation(row) for row in rows]


def latest_evaluation(
    stores: Stores, model: str, version: str, against: AgainstKind | None = None
) -> Evaluation | None:
    """The newest of a model version by declared checks; `against` asks for one with, or without,
    an incumbent."""
    query = _query(model, version)
    if against is AgainstKind.INCUMBENT:
        query = query.where(EVALUATIONS.c.against.is_not(None))
    elif against is AgainstKind.NOTHING:
        query = query.where(EVALUATIONS.c.against.is_(None))
    with stores.db.read() as connection:
        found = [_evaluation(row) for row in connection.execute(query)]
    return next((one for one in found if one.is_declared), None)


def evaluations_of_pipelines(
    stores: Stores, model: str, version: str, pipelines: Collection[str]
) -> list[Evaluation]:
    """Those that a run of one of these pipelines (digests) was judged by, with the declared checks;
    newest first."""
    return [
        one
        for one in list_evaluations(stores, model, version)
        if one.is_declared and one.pipeline_digest in pipelines
    ]


def _query(model: str | None, version: str | None) -> Select[Any]:
    """Ids are UUIDv7; `at` comes first, since two ids of one millisecond are in no order."""
    query = select(EVALUATIONS).order_by(EVALUATIONS.c.at.desc(), EVALUATIONS.c.id.desc())
    if model is not None:
        query = query.where(EVALUATIONS.c.model == model)
    if version is not None:
        query = query.where(EVALUATIONS.c.model_version == version)
    return query


def _evaluation(row: Row[Any]) -> Evaluation:
    values = dict(row._mapping)
    values["verdict"] = Verdict(values["verdict"])
    values["evidence"] = json.loads(values["evidence"])
    return Evaluation(**values)


def load_scorecard(stores: Stores, evaluation: Evaluation) -> Scorecard:
    """The verified scorecard, without its cells."""
    digest = evaluation.evidence["scorecard_digest"]
    data = json.loads(stores.blobs.get(digest, f"scorecard of evaluation {evaluation.id}"))
    return Scorecard.from_json({**data, "cells": pl.DataFrame()})
