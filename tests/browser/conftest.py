"""A real workspace with a story in it, served over a real port, and a real browser."""

# No postponed annotations here: the KFP SDK reads those of its components.
import csv
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import uvicorn
from fastapi import FastAPI
from kfp import compiler, dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output
from playwright.sync_api import Browser, Page, expect, sync_playwright

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.platform import Platform
from seamline.app.promote.board import show_board
from seamline.app.promote.make_release import make_release
from seamline.app.train.submit_run import submit_ir
from seamline.console import make_router
from seamline.data.versions import find_version
from seamline.domain.clock import iso
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionPhase, RunState, is_terminal
from seamline.evaluate.backtest import WindowRows, judge_windows
from seamline.evaluate.backtests import Subject, record_backtest
from seamline.evaluate.baselines import Baseline, make_baseline
from seamline.evaluate.evaluate import evaluate_predictions
from seamline.evaluate.evaluations import Contender, DataReference, record_evaluation
from seamline.evaluate.spec import EvaluationSpec
from seamline.project.plan import apply_project
from seamline.promote.approvals import approve
from seamline.promote.environments import live_release
from seamline.promote.promotion import find_promotion
from seamline.promote.release import find_release
from seamline.promote.requests import request_promotion
from seamline.protocols.application import make_application
from seamline.register.models.catalogue import (
    ModelVersion,
    find_model_version,
    register_model_version,
)
from seamline.register.models.documents import DatasetVersionRef, Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import running
from seamline.train.runs import run_state, show_run
from seamline.trust.principals import add_principal, parse_role
from seamline.trust.roles import Principal

CHROMIUM = Path("/usr/bin/chromium")
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_S = 300.0
#: Of every look at a page, in milliseconds: of themselves they take five seconds.
LOOK_MS = 120_000
_TAGS = itertools.count(1)
ENVIRONMENTS = """
[environments.dataops]

[environments.development]
after = "dataops"
gates = ["digests", "provenance"]
automatic = true

[environments.staging]
after = "development"
gates = ["digests", "provenance", "evaluation"]
approvals = { count = 1 }
soak = "0s"
"""
PRODUCTION = """
[environments.production]
after = "staging"
gates = ["digests", "provenance", "evaluation", "soak"]
approvals = { count = 1 }
soak = "24h"
"""
#: What waits for people only, so that a story can be told to its end.
PATIENT_PRODUCTION = """
[environments.production]
after = "staging"
gates = ["digests", "provenance", "evaluation"]
approvals = { count = 2 }
soak = "0s"
break_glass = { roles = ["releaser", "admin"], longest = "4h" }
"""
PROJECT = """
project = "flights-platform"
team = "platform"
{environments}
[datasets.flights]
date = ["year", "month", "day"]
keys = ["year", "month", "day", "flight"]
"""


@dsl.component(base_image="python:3.11")
def prepare_features(flights: Input[Dataset], features: Output[Dataset], since: str = ""):
    from pathlib import Path

    files = sorted(Path(flights.path).rglob("*.parquet"))
    print(f"reading {len(files)} files of {flights.uri} since {since or 'the beginning'}")
    Path(features.path).write_bytes(b"".join(file.read_bytes() for file in files))
    features.metadata["files"] = len(files)


@dsl.component(base_image="python:3.11")
def train(features: Input[Dataset], model: Output[Model], threshold: float = 0.4) -> float:
    from pathlib import Path

    for epoch in range(1, 6):
        print(f"epoch {epoch}: loss {0.7 / epoch:.3f}")
    Path(model.path).write_text(f"payload {len(Path(features.path).read_bytes())}")
    model.metadata["threshold"] = threshold
    return 0.731


@dsl.component(base_image="python:3.11")
def predict(model: Input[Model], features: Input[Dataset], predictions: Output[Dataset]):
    from pathlib import Path

    Path(predictions.path).write_text("scores")


@dsl.component(base_image="python:3.11")
def read_gate_plan(features: Input[Dataset]) -> str:
    raise LookupError("column 'gate' is missing: the vendor's file has 'gate_no'")


@dsl.component(base_image="python:3.11")
def plan_gates(plan: str, schedule: Output[Artifact]):
    from pathlib import Path

    Path(schedule.path).write_text(plan)


@dsl.component(base_image="python:3.11")
def hold(until: str):
    import time
    from pathlib import Path

    print("holding")
    deadline = time.monotonic() + 60
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


@dsl.pipeline(name="holding")
def holding(until: str):
    hold(until=until)


@dsl.pipeline
def punctuality(features: Dataset, threshold: float):
    fitted = train(features=features, threshold=threshold)
    predict(model=fitted.outputs["model"], features=features)


@dsl.pipeline
def operations(features: Dataset):
    plan = read_gate_plan(features=features)
    plan_gates(plan=plan.output)


@dsl.pipeline(name="late-arrival-training")
def training(flights: str = "datasets://flights", since: str = "", threshold: float = 0.4):
    flown = dsl.importer(artifact_uri=flights, artifact_class=Dataset, reimport=False)
    prepared = prepare_features(flights=flown.output, since=since)
    train(features=prepared.outputs["features"], threshold=threshold)


@dsl.pipeline(name="flights-all")
def everything(flights: str = "datasets://flights", threshold: float = 0.4):
    flown = dsl.importer(artifact_uri=flights, artifact_class=Dataset, reimport=False)
    prepared = prepare_features(flights=flown.output)
    punctuality(features=prepared.outputs["features"], threshold=threshold)
    operations(features=prepared.outputs["features"])


@dataclass
class Town:
    """The workspace, the people's tokens, and the ids that tests look at."""

    url: str
    app: FastAPI
    platform: Platform
    folder: Path
    tokens: dict[str, str]
    runs: dict[str, str]

    def apply(self, *environments: str) -> None:
        """Other policies, by the platform's one file."""
        project = PROJECT.format(environments="\n".join(environments))
        platform = self.platform
        apply_project(platform.stores, project, "platform/seamline.toml", by=platform.owner)

    def wait_for(self, holds: Callable[[], bool]) -> None:
        assert self.platform.changes.wait_until(holds, PATIENCE_S), "it did not come to that"

    def phase(self, promotion_id: str) -> PromotionPhase:
        with self.platform.stores.db.read() as connection:
            return find_promotion(connection, promotion_id).phase

    def verified(self, environment: str) -> str:
        """The alias that the board shows as live: its promotion has ended."""
        shown = {one["name"]: one["live"] for one in show_board(self.platform)["environments"]}
        return str((shown[environment] or {}).get("alias", ""))

    def live(self, environment: str) -> str:
        with self.platform.stores.db.read() as connection:
            found = live_release(connection, environment)
        return found.alias if found else ""

    def ask(self, alias: str, environment: str, by: str = "nora") -> str:
        """Request a promotion; returns when it awaits approval."""
        made = request_promotion(self.platform.stores, alias, environment, by=by)
        moving = {PromotionPhase.REQUESTED, PromotionPhase.CHECKING}
        self.wait_for(lambda: self.phase(made.id) not in moving)
        with self.platform.stores.db.read() as connection:
            found = find_promotion(connection, made.id)
        assert found.phase is PromotionPhase.AWAITING_APPROVAL, found.reason
        return made.id

    def approve(self, promotion_id: str, comment: str) -> str:
        """As bea; returns the release's alias once it is live."""
        bea = Principal("bea", frozenset({parse_role("approver")}))
        approve(self.platform.stores, promotion_id, bea, {}, comment=comment)
        self.wait_for(lambda: self.phase(promotion_id) is PromotionPhase.LIVE)
        with self.platform.stores.db.read() as connection:
            found = find_promotion(connection, promotion_id)
            return find_release(connection, found.release).alias

    def release(self, alias: str, *models: str, tag: str = "1.0.0") -> None:
        """Make a release and wait until it is live in development."""
        pipeline = f"late-arrival-training@{tag}"
        make_release(self.platform, alias, models, [pipeline], by="nora")
        self.wait_for(lambda: self.verified("development") == alias)

    def run_until(self, flag: Path) -> str:
        """A run that holds until the file is there."""
        ir = compiled(holding, self.folder)
        return submit_ir(self.platform, ir, arguments={"until": str(flag)}, by="nora")


def compiled(pipeline: Any, folder: Path) -> bytes:
    path = folder / f"{pipeline.name}.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_bytes()


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with built(tmp_path_factory.mktemp("town")) as town:
        town.apply(ENVIRONMENTS, PRODUCTION)
        tell_the_story(town)
        town.ask("flights-2013-06", "production")
        move_on(town)
        yield town


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A workspace of the module's own, whose production waits for two people and for nothing
    else: one release is live in staging, a newer one in development."""
    with built(tmp_path_factory.mktemp("village")) as village:
        village.apply(ENVIRONMENTS, PATIENT_PRODUCTION)
        tell_the_story(village)
        move_on(village)
        yield village


@pytest.fixture(scope="module")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A workspace of the module's own in which nothing has happened yet."""
    with built(tmp_path_factory.mktemp("hamlet")) as hamlet:
        yield hamlet


@contextmanager
def built(folder: Path) -> Iterator[Town]:
    settings = Settings(workspace=folder / "workspace", slots=2)
    with running(settings) as plane:
        app = make_application(plane.platform, more=[make_router()])
        with served(app) as url:
            yield Town(url, app, plane.platform, folder, {}, {})


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The app on a free loopback port, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        ready = threading.Event()
        startup = server.startup

        async def start(sockets: Any = None) -> None:
            await startup(sockets)
            ready.set()

        server.startup = start  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        assert ready.wait(PATIENCE_S)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def tell_the_story(town: Town) -> None:
    platform, folder = town.platform, town.folder
    people = {"nora": "releaser,approver", "bea": "approver", "dan": "approver", "vic": "viewer"}
    with platform.stores.db.transaction() as tx:
        for name, roles in people.items():
            held = frozenset(parse_role(role) for role in roles.split(","))
            town.tokens[name] = add_principal(
                tx, platform.stores.facts, platform.stores.clock, name, held, by=platform.owner
            )
    for month in (6, 7):
        path = folder / f"flights-2013-{month:02}.csv"
        write_flights(path, month)
        ingest_delivery(platform, "flights", path, source=path.name, by="nora")
    ir = compiled(training, folder)
    publish_pipeline(platform.stores, ir, ["1.0.0"], by="root")
    for name, document in (("training", ir), ("everything", compiled(everything, folder))):
        arguments = {"threshold": 0.35} if name == "training" else {}
        town.runs[name] = submit_ir(platform, document, arguments=arguments, by="nora")
    for run_id in town.runs.values():
        town.wait_for(lambda run_id=run_id: is_terminal(run_state(platform.stores, run_id)))
    assert run_state(platform.stores, town.runs["training"]) is RunState.SUCCEEDED
    register(town, "late-arrival", "1.0.0", noise=1.4)
    town.release("flights-2013-06", "late-arrival@1.0.0")
    town.approve(town.ask("flights-2013-06", "staging"), "June looks right")


def move_on(town: Town) -> None:
    """A newer release comes into development, and is asked for in staging."""
    register(town, "late-arrival", "1.0.1", noise=0.9, previous="1.0.0")
    town.release("flights-2013-07", "late-arrival@1.0.1")
    town.ask("flights-2013-07", "staging")


def write_flights(path: Path, month: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["year", "month", "day", "flight", "origin", "hour", "arr_delay"])
        for day in range(1, 29):
            for flight in range(40):
                delay = (flight * 7 + day * 3) % 60 - 15
                writer.writerow([2013, month, day, flight, "JFK", 5 + flight % 19, delay])


def register(
    town: Town, model: str, version: str, *, noise: float, previous: str | None = None
) -> None:
    """A model version of the training run, proved on a month of synthetic flights."""
    stores = town.platform.stores
    run, data = show_run(stores, town.runs["training"]), find_version(stores, "flights")
    payload = f"{model} {version}".encode()
    described = {
        "loading": {"verdict": "data", "globals": []},
        "task": "binary_classification",
        "format": "skops",
        "payload_digest": str(digest_of(payload)),
        "threshold": 0.35,
        "signature": {
            "inputs": [
                {"name": "origin", "datatype": "BYTES", "nullable": False},
                {"name": "hour", "datatype": "INT64", "nullable": False},
                {"name": "visib", "datatype": "FP64", "nullable": True},
            ],
            "outputs": [
                {"name": "label", "datatype": "INT64"},
                {"name": "score", "datatype": "FP64"},
            ],
        },
        "requirements": ["scikit-learn==1.9.1", "skops==0.16.0"],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
    }
    lineage = Lineage(
        run["id"],
        run["pipeline"],
        run["pipeline_digest"],
        (DatasetVersionRef("flights", data.version, data.digest),),
        "4f1c9a70be22",
        iso(stores.clock.now()),
        previous,
        run["arguments"],
    )
    document = make_model_document(
        model, version, described, lineage, metrics={"auc": 0.7312, "rows": 26971.0}
    )
    wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
    made = register_model_version(stores, wheel, key=town.platform.key, by="nora")
    prove(town, made, DataReference(f"flights@{data.version}", data.digest), noise, previous)


def prove(
    town: Town, version: ModelVersion, data: DataReference, noise: float, previous: str | None
) -> None:
    days, per_day = 31, 200
    rng = np.random.default_rng(7)
    n = days * per_day
    hour = rng.integers(5, 24, n)
    delay = 4.0 * (hour - 14) + rng.normal(0, 25, n) + np.repeat(rng.normal(0, 8, days), per_day)
    truth = pl.DataFrame(
        {
            "ds": [date(2013, 7, 1) + timedelta(days=i // per_day) for i in range(n)],
            "flight": np.arange(n) % per_day,
            "origin": rng.choice(["EWR", "JFK", "LGA"], n),
            "arr_delay": delay,
        }
    )
    keys = ("ds", "flight")

    def predict(noise: float) -> pl.DataFrame:
        score = 1 / (1 + np.exp(-(hour - 14) / 4 + 0.9 + rng.normal(0, 1, n) * noise))
        return truth.select(keys).with_columns(pl.Series("score", score))

    predictions = predict(noise)
    spec = EvaluationSpec(
        keys,
        "arr_delay > 15",
        "score",
        slices=("origin",),
        threshold=0.35,
        checks=("auc >= 0.65", "brier.vs(baseline) < 0", "auc.worst_slice(origin) >= 0.6"),
    )
    baseline = make_baseline(truth, spec.label)
    incumbent = predict(1.4) if previous else None
    result = evaluate_predictions(
        predictions, truth, spec, incumbent_predictions=incumbent, baseline=baseline
    )
    stores, run = town.platform.stores, show_run(town.platform.stores, town.runs["training"])
    scored = str(digest_of(predictions["score"].to_numpy().tobytes()))
    judged_by = (run["id"], run["pipeline_digest"])
    candidate = Contender(version.model, version.version, version.wheel_digest, scored, *judged_by)
    rival = (
        None
        if previous is None
        else Contender(
            version.model,
            previous,
            find_model_version(stores, version.model, previous).wheel_digest,
            scored,
            *judged_by,
        )
    )
    record_evaluation(
        stores, candidate=candidate, incumbent=rival, data=data, spec=spec, result=result, by="nora"
    )
    if incumbent is not None:
        back_test(town, version, data, spec, predictions, incumbent, truth, baseline)


def back_test(
    town: Town,
    version: ModelVersion,
    data: DataReference,
    spec: EvaluationSpec,
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    truth: pl.DataFrame,
    baseline: Baseline,
) -> None:
    """Over halves of the month; the third window's training failed."""
    cuts = [date(2013, 7, 1), date(2013, 7, 16), date(2013, 8, 1)]
    windows = []
    for start, end in itertools.pairwise(cuts):
        inside = (pl.col("ds") >= start) & (pl.col("ds") < end)
        windows.append(
            WindowRows(str(start), version.version, ours.filter(inside), theirs.filter(inside))
        )
    windows.append(WindowRows("2013-08-01", "", error="the training run ended as failed"))
    run = show_run(town.platform.stores, town.runs["training"])
    tested = Subject(
        version.model, version.version, version.wheel_digest, (run["pipeline_digest"],), (), "1.0.0"
    )
    record_backtest(
        town.platform.stores,
        tested=tested,
        data=data,
        spec=spec,
        result=judge_windows(windows, truth, spec, baseline=baseline),
        by="nora",
    )


@pytest.fixture
def asked(town: Town) -> str:
    """A fresh promotion to staging that awaits approval."""
    tag = f"1.0.{next(_TAGS)}"
    publish_pipeline(town.platform.stores, compiled(training, town.folder), [tag], by="root")
    town.release(f"trial-{tag}", "late-arrival@1.0.1", tag=tag)
    return town.ask(f"trial-{tag}", "staging")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ended with its module: while Playwright runs, no other test can run an event loop."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed here")
    expect.set_options(timeout=LOOK_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=BROWSER_ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, town: Town) -> Iterator[Callable[..., Page]]:
    """visit("/path", who="bea") → a page in a browser of its own, signed in as that person."""
    with pages_of(browser, town) as open_page:
        yield open_page


@pytest.fixture
def call(browser: Browser, village: Town) -> Iterator[Callable[..., Page]]:
    """The same in the village."""
    with pages_of(browser, village) as open_page:
        yield open_page


@pytest.fixture
def drop_in(browser: Browser, hamlet: Town) -> Iterator[Callable[..., Page]]:
    """The same in the hamlet."""
    with pages_of(browser, hamlet) as open_page:
        yield open_page


@contextmanager
def pages_of(browser: Browser, town: Town) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_page(path: str = "/", who: str = "", **options: Any) -> Page:
        context = browser.new_context(base_url=town.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LOOK_MS)
        if who:
            page.goto("/sign-in")
            page.get_by_label("Your token").fill(town.tokens[who])
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(town.url + "/")
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
