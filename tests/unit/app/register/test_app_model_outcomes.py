"""What became of a run's models: told while they are packaged, when they are and when never."""

# No postponed annotations here: the KFP SDK reads those of its components.
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Model, Output

from seamline.app.register.model_outcomes import ModelOutcome, ModelState, Packagings, list_outcomes
from seamline.app.register.show_model import list_standing_refusals, show_model
from seamline.app.train.submit_run import submit_ir
from seamline.console.run_sources import Look, read_run
from seamline.console.sources import read_models
from seamline.domain.clock import SystemClock
from seamline.domain.errors import NotFound
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.project.plan import apply_project
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.train.runs import run_state
from seamline.trust.roles import Principal

PROJECT = """
project = "evil"
team = "evil"

[models.evil-one]
pipeline = "evil-training"
output = "train.model"
samples = "train.samples"
"""


@dsl.component(base_image="python:3.11")
def train(model: Output[Model], samples: Output[Dataset]):
    import pickle
    from pathlib import Path

    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("true",)

    Path(model.path).write_bytes(pickle.dumps(Evil()))
    Path(samples.path).write_text('{"x": 1.0}\n')


@dsl.pipeline
def evil_training():
    train()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    made = build_control_plane(Settings(workspace=tmp_path / "workspace", slots=2), SystemClock())
    made.platform.engine.start()
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


def run(plane: ControlPlane, folder: Path) -> str:
    """A run that has ended, and whose end nothing has reacted to."""
    stores = plane.platform.stores
    apply_project(stores, PROJECT, "seamline.toml", by="ana")
    compiler.Compiler().compile(evil_training, str(folder / "evil.yaml"))
    ir = (folder / "evil.yaml").read_bytes()
    publish_pipeline(stores, ir, ["1.0.0"], by="ana", commit="c0ffee")
    run_id = submit_ir(plane.platform, ir, arguments={}, environment="dataops", by="ana")
    assert plane.platform.changes.wait_until(lambda: is_terminal(run_state(stores, run_id)), 120)
    return run_id


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def test_a_refused_model_is_told_wherever_somebody_asks(
    plane: ControlPlane, tmp_path: Path
) -> None:
    platform = plane.platform
    run_id = run(plane, tmp_path)
    assert list_outcomes(platform, run_id) == [ModelOutcome("evil-one", ModelState.PACKAGING)]
    going_page = read_run(platform, Principal("ana", frozenset()), run_id, Look())
    assert going_page["refresh_s"] > 0
    with pytest.raises(NotFound, match="is being packaged") as going:
        show_model(platform, "evil-one", None)
    assert going.value.next_step == f"Wait for it: seamline run wait {run_id}."
    settle(plane)
    [refused] = list_outcomes(platform, run_id)
    assert (refused.model, refused.state) == ("evil-one", ModelState.REFUSED)
    assert "system" in refused.reason
    with pytest.raises(NotFound, match=f"run {run_id} made it, and it was refused: ") as told:
        show_model(platform, "evil-one", None)
    assert refused.reason in told.value.message
    assert f"seamline model list --run {run_id}" in told.value.next_step
    [standing] = list_standing_refusals(platform)
    assert (standing["model"], standing["run_id"]) == ("evil-one", run_id)
    assert read_models(platform)["refusals"] == [standing]
    page = read_run(platform, Principal("ana", frozenset()), run_id, Look())
    assert page["models"] == {"total": 1, "refused": 1, "first": [refused.to_json()]}
    assert page["refresh_s"] == 0
    with pytest.raises(NotFound, match="There is no model 'good-one'"):
        show_model(platform, "good-one", None)


def test_who_waits_is_told_when_nothing_is_left_to_be_packaged(
    plane: ControlPlane, tmp_path: Path
) -> None:
    run_id = run(plane, tmp_path)

    async def wait() -> tuple[bool, bool]:
        waiters = Packagings(plane.platform.stores, plane.platform.changes)
        early = await waiters.wait(run_id, 0.1)
        waiting = asyncio.create_task(waiters.wait(run_id, 60))
        await asyncio.to_thread(settle, plane)
        return early, await waiting

    assert asyncio.run(wait()) == (False, True)
