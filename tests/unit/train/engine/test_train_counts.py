"""What the figures about runs and tasks are read from."""

from typing import Any

from kfp import dsl

from seamline.domain.states import RunState, TaskState
from seamline.train.engine.counts import (
    ENDS,
    TASK_SECONDS,
    Durations,
    TaskTimes,
    count_open_tasks,
    count_runs,
)
from seamline.train.options import RunOptions
from seamline.train.runs import request_run


@dsl.component(base_image="python:3.11")
def add(n: int) -> int:
    return n + 1


@dsl.component(base_image="python:3.11")
def fail(n: int) -> int:
    raise RuntimeError(n)


@dsl.pipeline
def branches():
    add(n=add(n=1).output)
    add(n=fail(n=1).output)


def test_ends_are_counted_once_however_often_one_looks(house: Any, compile_ir: Any) -> None:
    ir = compile_ir(branches)
    house.run(ir, RunOptions(enable_cache=False))
    times = TaskTimes(house.stores)
    assert sum(times.ended().tasks.values()) == 0  # What was before does not count.
    house.run(ir, RunOptions(enable_cache=False))
    for _ in range(2):
        ended = times.ended()
        assert {state: n for state, n in ended.tasks.items() if n} == {
            TaskState.SUCCEEDED: 2,
            TaskState.FAILED: 1,
            TaskState.UPSTREAM_FAILED: 1,
        }
        succeeded = ended.durations[TaskState.SUCCEEDED]
        assert sum(succeeded.buckets) == 2
        assert 0 < succeeded.total_s < 60
        assert sum(ended.durations[TaskState.FAILED].buckets) == 1
    ended.tasks[TaskState.FAILED] = 99  # What was handed out is not what is kept.
    assert times.ended().tasks[TaskState.FAILED] == 1
    house.run(ir, RunOptions(enable_cache=False))
    assert times.ended().tasks[TaskState.SUCCEEDED] == 4


def test_open_tasks(stores: Any, compile_ir: Any) -> None:
    request_run(stores, compile_ir(branches), arguments={}, environment="dataops", by="ana")
    assert count_open_tasks(stores)[TaskState.PENDING] == 4
    assert count_runs(stores)[RunState.PENDING] == 1


def test_tasks_of_ended_runs_are_not_open(house: Any, compile_ir: Any) -> None:
    house.run(compile_ir(branches))
    assert set(count_open_tasks(house.stores).values()) == {0}
    assert count_runs(house.stores)[RunState.PARTIALLY_FAILED] == 1


def test_a_bucket_holds_its_upper_bound() -> None:
    durations = Durations()
    for seconds in (0.0, TASK_SECONDS[0], 0.011, TASK_SECONDS[-1], TASK_SECONDS[-1] + 1):
        durations.add(seconds)
    assert durations.buckets == [2, 1, *[0] * (len(TASK_SECONDS) - 3), 1, 1]


def test_a_task_can_end_in_these_states() -> None:
    assert set(TaskState) - set(ENDS) == {TaskState.PENDING, TaskState.RUNNING}
