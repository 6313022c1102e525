"""Back-tests on record: evidence by digest, the fact, and which runs were made for them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import not_found
from seamline.domain.facts import BacktestRecorded
from seamline.domain.states import Verdict
from seamline.evaluate.backtest import BacktestResult
from seamline.evaluate.evaluations import DataReference
from seamline.evaluate.rows import BACKTEST_RUNS, BACKTESTS
from seamline.evaluate.spec import EvaluationSpec
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Subject:
    """What was back-tested. `pipelines`: digests of the pipelines whose runs predicted; `runs`: of
    each window, the run that trained (where one did) and those that predicted."""

    model: str
    version: str
    wheel_digest: str
    pipelines: tuple[str, ...]
    runs: Sequence[Mapping[str, Any]]
    against: str | None = None


@dataclass(frozen=True)
class Backtest:
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

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "verdict": str(self.verdict)}


def record_backtest(
    stores: Stores,
    *,
    tested: Subject,
    data: DataReference,
    spec: EvaluationSpec,
    result: BacktestResult,
    by: str,
    how: Mapping[str, Any] | None = None,
) -> Backtest:
    """The row and its fact in one transaction. `how`: the windows, as they were declared."""
    evidence = _evidence(tested, data, spec, result) | ({"how": dict(how)} if how else {})
    made = Backtest(
        id=new_id(stores.clock),
        digest=digest_of_json(evidence),
        model=tested.model,
        model_version=tested.version,
        wheel_digest=tested.wheel_digest,
        data=data.reference,
        against=tested.against,
        verdict=result.verdict,
        evidence=evidence,
        by=by,
        at=iso(stores.clock.now()),
    )
    row = {**made.__dict__, "verdict": str(made.verdict)}
    with stores.db.transaction() as tx:
        text = canonical_json(evidence).decode()
        tx.execute(insert(BACKTESTS).values(**row | {"evidence": text}))
        fact = BacktestRecorded(
            made.id,
            made.model,
            made.model_version,
            made.data,
            str(made.verdict),
            made.digest,
            made.against,
        )
        stores.facts.append(tx, fact, by=by)
    return made


def _evidence(
    tested: Subject, data: DataReference, spec: EvaluationSpec, result: BacktestResult
) -> dict[str, Any]:
    whole = result.whole
    checks = () if whole is None else (*whole.checks, *whole.against)
    return {
        "schema": 1,
        "model": tested.model,
        "version": tested.version,
        "wheel_digest": tested.wheel_digest,
        "pipelines": list(tested.pipelines),
        "runs": [dict(one) for one in tested.runs],
        "against": tested.against,
        "data": data.to_json(),
        "spec": spec.to_json(),
        "metric": result.metric,
        "windows": [one.to_json(result.metrics) for one in result.windows],
        "trends": {name: one.to_json() for name, one in result.trends.items()},
        "checks": [one.to_json() for one in checks],
        "verdict": str(result.verdict),
        "sentences": list(result.sentences),
    }


def find_backtest(stores: Stores, backtest_id: str) -> Backtest:
    """Raises NotFound."""
    with stores.db.read() as connection:
        row = connection.execute(select(BACKTESTS).where(BACKTESTS.c.id == backtest_id)).first()
    if row is None:
        raise not_found("back-test", backtest_id)
    return _backtest(row)


def list_backtests(
    stores: Stores, model: str | None = None, version: str | None = None
) -> list[Backtest]:
    """Newest first."""
    query = select(BACKTESTS).order_by(BACKTESTS.c.at.desc(), BACKTESTS.c.id.desc())
    if model is not None:
        query = query.where(BACKTESTS.c.model == model)
    if version is not None:
        query = query.where(BACKTESTS.c.model_version == version)
    with stores.db.read() as connection:
        return [_backtest(row) for row in connection.execute(query)]


def backtests_of_pipelines(
    stores: Stores, model: str, version: str, pipelines: Collection[str]
) -> list[Backtest]:
    """Those whose predictions all come from runs of these pipelines (digests), newest first."""
    return [
        one
        for one in list_backtests(stores, model, version)
        if one.evidence["pipelines"] and set(one.evidence["pipelines"]) <= set(pipelines)
    ]


def _backtest(row: Row[Any]) -> Backtest:
    values = dict(row._mapping)
    values["verdict"] = Verdict(values["verdict"])
    values["evidence"] = json.loads(values["evidence"])
    return Backtest(**values)


def record_training_run(stores: Stores, run_id: str, model: str) -> None:
    """Before it is requested: what it makes is a model of a back-test, and nobody's newest."""
    with stores.db.transaction() as tx:
        tx.execute(insert(BACKTEST_RUNS).values(run_id=run_id, model=model))


def is_training_run(stores: Stores, run_id: str) -> bool:
    query = select(BACKTEST_RUNS.c.run_id).where(BACKTEST_RUNS.c.run_id == run_id)
    with stores.db.read() as connection:
        return connection.execute(query).first() is not None
