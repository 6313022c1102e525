"""A control plane whose engine runs for real: gates that run something are driven to their end."""

# No postponed annotations here: the KFP SDK reads those of its components.
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl import Dataset, Output

from seamline.app.platform import Platform
from seamline.app.promote.advance_promotion import advance_waiting
from seamline.app.promote.make_release import make_release
from seamline.domain.clock import SystemClock
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import apply_policies
from seamline.promote.gate_results import GateResult, gate_results
from seamline.promote.gate_rules import GateRules
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.requests import request_promotion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.stores import Stores

DEADLINE_S = 120.0
HERE = "development"


@dataclass
class RunningHouse:
    plane: ControlPlane

    @property
    def platform(self) -> Platform:
        return self.plane.platform

    @property
    def stores(self) -> Stores:
        return self.plane.platform.stores

    def ask_for(self, *gates: str, rules: GateRules | None = None, **changes: Any) -> None:
        """In development: these gates and no others, no approval and no waiting."""
        plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
        plain[1] = replace(plain[1], gates=gates, gate=rules or GateRules(), **changes)
        with self.stores.db.transaction() as tx:
            apply_policies(tx, self.stores.facts, tuple(plain), by="root")

    def request(
        self, alias: str, pipelines: tuple[str, ...] = (), models: tuple[str, ...] = ()
    ) -> Promotion:
        made = make_release(self.platform, alias, models, pipelines, by="ann")
        return request_promotion(self.stores, made.digest, HERE, by="ann")

    def promote(
        self, alias: str, pipelines: tuple[str, ...] = (), models: tuple[str, ...] = ()
    ) -> Promotion:
        """As it stands when its gates are decided, and what follows from that is done."""
        return self.decided(self.request(alias, pipelines, models))

    def decided(self, promotion: Promotion) -> Promotion:
        def is_decided() -> bool:
            self.turn()
            return self.phase(promotion) not in (
                PromotionPhase.REQUESTED,
                PromotionPhase.CHECKING,
                PromotionPhase.APPLYING,
                PromotionPhase.VERIFYING,
            )

        assert self.platform.changes.wait_until(is_decided, DEADLINE_S)
        with self.stores.db.read() as connection:
            return find_promotion(connection, promotion.id)

    def turn(self) -> None:
        """What the background loop does in one."""
        while self.plane.loop.step():
            pass
        advance_waiting(self.platform)
        while self.plane.loop.step():
            pass

    def phase(self, promotion: Promotion) -> PromotionPhase:
        with self.stores.db.read() as connection:
            return find_promotion(connection, promotion.id).phase

    def gate(self, promotion: Promotion, name: str) -> GateResult:
        with self.stores.db.read() as connection:
            found = {one.gate: one for one in gate_results(connection, promotion.id)}
        return found[name]

    def publish(self, tag: str, **behaviour: Any) -> str:
        """The pipeline `score`, whose one table is made so."""
        path = self.platform.root / f"score-{tag}.yaml"
        compiler.Compiler().compile(scoring(**behaviour), str(path))
        publish_pipeline(self.stores, path.read_bytes(), [tag], by="eve")
        return f"score@{tag}"


@dsl.component(base_image="python:3.11")
def score(
    rows: int,
    first: int,
    megabytes: int,
    waits_s: float,
    nulls: int,
    fails: bool,
    renamed: str,
    twice: int,
    predictions: Output[Dataset],
):
    import time

    import polars as pl

    if fails:
        raise RuntimeError("it was asked to fail")
    ballast = bytearray(megabytes << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    time.sleep(waits_s)
    scores = [None if row < nulls else 0.5 for row in range(rows)]
    frame = pl.DataFrame({renamed: range(first, first + rows), "score": scores})
    frame = frame.with_columns(ds=pl.lit("2026-01-01"))
    pl.concat([frame, frame.head(twice)]).write_parquet(predictions.path)


def scoring(
    rows: int = 100,
    first: int = 0,
    megabytes: int = 0,
    waits_s: float = 0.0,
    nulls: int = 0,
    fails: bool = False,
    renamed: str = "flight",
    twice: int = 0,
    data: str = "",
) -> Any:
    @dsl.pipeline(name="score")
    def pipeline() -> Dataset:
        if data:
            dsl.importer(artifact_uri=data, artifact_class=Dataset, reimport=False)
        made = score(
            rows=rows,
            first=first,
            megabytes=megabytes,
            waits_s=waits_s,
            nulls=nulls,
            fails=fails,
            renamed=renamed,
            twice=twice,
        )
        return made.outputs["predictions"]

    return pipeline


@contextmanager
def running_house(folder: Path) -> Iterator[RunningHouse]:
    plane = build_control_plane(Settings(workspace=folder / "workspace", slots=2), SystemClock())
    plane.platform.engine.start()
    try:
        yield RunningHouse(plane)
    finally:
        plane.platform.engine.close()
        plane.platform.runner.close()
        plane.platform.stores.db.close()
