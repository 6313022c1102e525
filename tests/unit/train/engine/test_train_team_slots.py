"""Slots are shared: a team with many tasks leaves room for another's few."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from seamline.domain.states import is_terminal
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import Stores
from seamline.train.engine.engine import Engine
from seamline.train.options import RunLabel
from seamline.train.runs import request_run, run_state, show_run


@dsl.component(base_image="python:3.11")
def hold(folder: str, name: str) -> None:
    """Tells that it runs, and goes on when it may."""
    import time
    from pathlib import Path

    Path(folder, name).touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)


@dsl.pipeline
def three(folder: str, name: str):
    for number in range(3):
        hold(folder=folder, name=f"{name}-{number}").set_caching_options(False)


@pytest.fixture
def limits() -> dict[str, int]:
    return {"large": 1}


@pytest.fixture
def engine(
    stores: Stores, warm: tuple[TaskRunner, EnvironmentCache], limits: dict[str, int]
) -> Iterator[Engine]:
    def resolve(uri: str, context: object) -> Any:
        raise AssertionError(uri)

    made = Engine(stores, *warm, resolve, slots=4, team_slots=limits.get)
    made.start()
    yield made
    made.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_team_keeps_to_its_slots_and_the_others_do_not_wait(
    stores: Stores,
    engine: Engine,
    limits: dict[str, int],
    compile_ir: Callable[..., bytes],
    tmp_path: Path,
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    ir = compile_ir(three)
    folder = tmp_path / "told"
    folder.mkdir()

    def request(team: str) -> str:
        return request_run(
            stores,
            ir,
            arguments={"folder": str(folder), "name": team},
            environment="dataops",
            by="ana",
            label=RunLabel(team=team),
        )

    large, small = request("large"), request("small")
    engine.wake()
    wait_until(lambda: len(names(folder)) == 4)
    assert [name.partition("-")[0] for name in names(folder)] == ["large", *["small"] * 3]
    counts = engine.counts()
    assert (counts.running, counts.ready) == (4, 2)
    assert counts.by_team["large"].ready == 2
    (folder / "go").touch()
    wait_until(lambda: all(is_terminal(run_state(stores, run)) for run in (large, small)))
    tasks = sorted(show_run(stores, large)["tasks"], key=lambda task: task["started_at"])
    assert [task["state"] for task in tasks] == ["succeeded"] * 3
    for before, after in pairwise(tasks):
        assert before["ended_at"] <= after["started_at"], "one at a time"


def test_a_raised_limit_holds_when_the_engine_is_woken(
    stores: Stores,
    engine: Engine,
    limits: dict[str, int],
    compile_ir: Callable[..., bytes],
    tmp_path: Path,
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    folder = tmp_path / "told"
    folder.mkdir()
    run = request_run(
        stores,
        compile_ir(three),
        arguments={"folder": str(folder), "name": "large"},
        environment="dataops",
        by="ana",
        label=RunLabel(team="large"),
    )
    engine.wake()
    wait_until(lambda: len(names(folder)) == 1)
    limits["large"] = 3
    engine.wake()
    wait_until(lambda: len(names(folder)) == 3)
    (folder / "go").touch()
    wait_until(lambda: is_terminal(run_state(stores, run)))
