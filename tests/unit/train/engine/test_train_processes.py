"""Isolation is real: 2,000 tasks are 2,000 processes, and each attempt says which."""

from typing import Any

from kfp import dsl
from sqlalchemy import select

from seamline.domain.states import is_terminal
from seamline.train.rows import TASKS
from seamline.train.runs import run_state


@dsl.component(base_image="python:3.11")
def whoami(n: int) -> list:
    import os
    from pathlib import Path

    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return [os.getpid(), int(words[19])]


@dsl.pipeline
def many(count: list):
    with dsl.ParallelFor(count) as n:
        whoami(n=n)


def test_two_thousand_tasks_are_as_many_processes(house: Any, compile_ir: Any) -> None:
    run_id = house.request(compile_ir(many), count=list(range(2000)))
    house.wait_for(lambda: is_terminal(run_state(house.stores, run_id)), timeout_s=240)
    shown = house.finish(run_id)
    assert shown["state"] == "succeeded"
    with house.stores.db.read() as connection:
        query = select(TASKS).where(TASKS.c.run_id == run_id, TASKS.c.kind == "python")
        rows = connection.execute(query).all()
    recorded = {(row.pid, row.pid_start_time) for row in rows}
    assert len(recorded) == len(rows) == 2000
    assert all(row.started_at and row.ended_at for row in rows)
    tasks = [task for task in shown["tasks"] if task["kind"] == "python"]
    itself = {tuple(task["outputs"]["parameters"]["Output"]) for task in tasks}
    assert itself == recorded, "what is recorded is what the tasks saw of themselves"
