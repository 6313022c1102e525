"""A release that every gate which reads something lets through, and the house that it stands in."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import update

from seamline.app.promote.advance_promotion import advance_waiting
from seamline.app.promote.make_release import make_release
from seamline.data.contracts.declared import (
    plan_contracts,
    read_declared_contracts,
    record_contracts,
)
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.versions import DatasetVersion
from seamline.domain.clock import iso
from seamline.domain.digests import digest_of
from seamline.domain.states import PromotionPhase, RunState, Verdict
from seamline.evaluate.evaluate import evaluate_predictions
from seamline.evaluate.evaluations import Contender, DataReference, record_evaluation
from seamline.evaluate.spec import EvaluationSpec
from seamline.promote.environments import apply_policies, find_environment
from seamline.promote.gate_results import gate_results
from seamline.promote.gate_rules import GateRules, SecurityRule
from seamline.promote.policy import DEFAULT_POLICIES, EnvironmentPolicy
from seamline.promote.promotion import find_promotion
from seamline.promote.release import StoredRelease
from seamline.promote.requests import request_promotion
from seamline.register.formats.scan import scan_model
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import DatasetVersionRef, Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.train.rows import RUNS
from seamline.train.runs import request_run

from .conftest import House

#: Whatever reads something and is asked by name.
READING = ("digests", "provenance", "data_contract", "likeness", "evaluation", "security")
ALL = (*READING, "successes", "soak")
CALLS = DatasetDeclaration("calls", time="at", keys=("id",), contract="calls.yaml")
CONTRACT = """
columns:
  id: {type: int, nullable: false}
  at: {type: datetime, nullable: false}
  kind: string
  size: float
"""
FIRST = date(2025, 12, 1)
KEYS = ("ds", "id")


def rows(days: int = 20, per_day: int = 60, scale: float = 1.0) -> str:
    """`size` is spread over 0 to 9 on each day; `kind` over three values."""
    lines = ["id,at,kind,size"]
    for n in range(days * per_day):
        at = FIRST + timedelta(days=n // per_day)
        lines.append(f"{n},{at}T08:00:00Z,k{n % 3},{(n * 7) % 10 * scale}")
    return "\n".join(lines) + "\n"


class GoodRelease:
    """`ask()` promotes it to development, and answers with phase and verdicts."""

    def __init__(self, house: House, folder: Path, *, own_tables: bool = True) -> None:
        self.house, self.folder = house, folder
        self.declare(CONTRACT)
        self.trained = self.deliver("calls", rows())
        for name in ("calls-production", "calls-development") if own_tables else ():
            self.deliver(name, rows())
        self.advise("GHSA-old", "jinja2", fixed="3.1.3")
        self.policy = EnvironmentPolicy(
            "development",
            "dataops",
            ALL,
            gate=GateRules(security=SecurityRule(str(folder / "advisories"), "9d")),
        )

    # -- what it is made of ----------------------------------------------------------------

    def declare(self, contract: str) -> None:
        """What the calls are held to from now on, as `seamline apply` does it."""
        stores = self.house.stores
        with stores.db.transaction() as tx:
            declared = read_declared_contracts({"calls": CALLS}, {"calls.yaml": contract})
            changes = plan_contracts(tx, declared, {"calls": CALLS})
            record_contracts(tx, stores.facts, changes, by="ada", at=iso(stores.clock.now()))

    def deliver(self, name: str, text: str, *, is_whole: bool = False) -> DatasetVersion:
        path = self.folder / f"{name}.csv"
        path.write_text(text)
        mode = Mode.REPLACE if is_whole else Mode.APPEND
        declared = replace(CALLS, name=name, mode=mode)
        return ingest(self.house.stores, declared, path, source=path.name, by="ada").version

    def advise(self, advisory: str, package: str, fixed: str, age_days: float = 1.0) -> None:
        modified = self.house.stores.clock.now() - timedelta(days=age_days)
        document = {
            "id": advisory,
            "modified": modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aliases": ["CVE-2025-1"],
            "summary": "it lets anybody in",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": package},
                    "ranges": [
                        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}
                    ],
                }
            ],
        }
        folder = self.folder / "advisories"
        folder.mkdir(exist_ok=True)
        (folder / f"{advisory}.json").write_text(json.dumps(document))

    def register(self, payload: bytes = b"payload", form: str = "skops") -> ModelVersion:
        trained = DatasetVersionRef("calls", self.trained.version, self.trained.digest)
        described: dict[str, Any] = {
            "task": "binary_classification",
            "format": form,
            "payload_digest": digest_of(payload),
            "threshold": 0.5,
            "signature": {
                "inputs": [{"name": "size", "datatype": "FP64", "nullable": False}],
                "outputs": [{"name": "label", "datatype": "INT64"}],
            },
            "requirements": ["numpy==2.1.0", "scikit-learn==1.9.1"],
            "requires_python": ">=3.11",
            "trusted_types": [],
            "frame": None,
        }
        if form == "pickle":
            described["loading"] = scan_model(payload).to_json()
        lineage = Lineage(
            "run-1", "score", digest_of(self.house.old), (trained,), None, "2026", None
        )
        document = make_model_document("late", "1.0.0", described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
        return register_model_version(
            self.house.stores, wheel, key=self.house.platform.key, by="ann", admitted=("pickle",)
        )

    def judge(self, model: ModelVersion, noise: float = 0.3) -> str:
        """The evaluation's id."""
        rng = np.random.default_rng(7)
        n = 30 * 60
        late = rng.random(n) < 0.4
        truth = pl.DataFrame(
            {
                "ds": [FIRST + timedelta(days=i // 60) for i in range(n)],
                "id": np.arange(n),
                "late": late,
            }
        )
        score = np.clip(late * 0.6 + 0.2 + rng.normal(0, noise, n), 0, 1)
        predictions = truth.select(KEYS).with_columns(pl.Series("score", score))
        spec = EvaluationSpec(KEYS, "late", "score", checks=("auc >= 0.7",))
        result = evaluate_predictions(predictions, truth, spec)
        file = io.BytesIO()
        predictions.write_parquet(file)
        kept = str(self.house.stores.blobs.put(file.getvalue()))
        return record_evaluation(
            self.house.stores,
            candidate=Contender(
                *(model.model, model.version, model.wheel_digest, kept),
                pipeline_digest=digest_of(self.house.old),
            ),
            data=DataReference(self.trained.reference, self.trained.digest),
            spec=spec,
            result=result,
            by="nora",
        ).id

    def succeed(self, state: RunState = RunState.SUCCEEDED) -> None:
        """A run of its pipeline in the environment before."""
        stores = self.house.stores
        run = request_run(stores, self.house.old, arguments={}, environment="dataops", by="nora")
        with stores.db.transaction() as tx:
            tx.execute(update(RUNS).where(RUNS.c.id == run).values(state=state))

    # -- what becomes of it ----------------------------------------------------------------

    def apply(self, policy: EnvironmentPolicy | None = None) -> None:
        plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
        plain[1] = policy or self.policy
        with self.house.stores.db.transaction() as tx:
            apply_policies(tx, self.house.stores.facts, tuple(plain), by="root")

    def release(self) -> StoredRelease:
        return make_release(self.house.platform, "good", ["late@1.0.0"], ["score@1.0.0"], by="ann")

    def ask(self) -> str:
        """The promotion's id, once nothing is left to do."""
        made = request_promotion(self.house.stores, "good", "development", by="ann")
        self.house.settle()
        return made.id

    def go_on(self) -> None:
        """What the loop does from time to time."""
        advance_waiting(self.house.platform)
        self.house.settle()

    def phase(self, promotion: str) -> PromotionPhase:
        with self.house.stores.db.read() as connection:
            return find_promotion(connection, promotion).phase

    def live(self) -> str | None:
        with self.house.stores.db.read() as connection:
            return find_environment(connection, "development").release

    def shut(self, promotion: str) -> dict[str, tuple[Verdict, str]]:
        """The gates that did not open."""
        with self.house.stores.db.read() as connection:
            found = gate_results(connection, promotion)
        return {
            one.gate: (one.verdict, one.sentence)
            for one in found
            if one.verdict is not Verdict.PASS
        }


def good_release(
    house: House, folder: Path, *, without: Sequence[str] = (), model: bytes | None = None
) -> GoodRelease:
    """All is in place but what is in `without`: judge, succeed. `model`: a pickle."""
    made = GoodRelease(house, folder)
    version = made.register() if model is None else made.register(model, "pickle")
    if "judge" not in without:
        made.judge(version)
    if "succeed" not in without:
        made.succeed()
    made.apply()
    made.release()
    return made


PICKLE = pickle.dumps({"weights": [1.0, 2.0]})
