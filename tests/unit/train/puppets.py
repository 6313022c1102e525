"""The engine's turns without its processes: tasks end as a test says, in the order it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, update

from seamline.domain.states import RunState, TaskState
from seamline.store.stores import Stores
from seamline.train import record
from seamline.train.attempts.machine import Machine
from seamline.train.attempts.order import WorkOrder
from seamline.train.engine.batch import Batch
from seamline.train.engine.live import LiveRun
from seamline.train.engine.steering import Steering
from seamline.train.engine.turns import Turns
from seamline.train.options import DEFAULT_OPTIONS, RunOptions
from seamline.train.plan.load import load_plan
from seamline.train.results import FAILED, TaskProblem, TaskResult
from seamline.train.rows import RUNS
from seamline.train.runs import request_run

End = tuple[WorkOrder, TaskResult]


def succeeded(**outputs: Any) -> TaskResult:
    return TaskResult(TaskState.SUCCEEDED, outputs)


def failed(message: str = "no wind data") -> TaskResult:
    problem = TaskProblem(FAILED, "ValueError", message)
    return TaskResult(TaskState.FAILED, problem=problem)


def lost() -> TaskResult:
    problem = TaskProblem("errored", "Lost", "Its zygote died.")
    return TaskResult(TaskState.FAILED, problem=problem, is_lost=True)


def request_only(
    stores: Stores, ir: bytes, options: RunOptions = DEFAULT_OPTIONS, **more: Any
) -> str:
    """No engine has looked at it yet."""
    given: dict[str, Any] = {"arguments": {}, "environment": "dataops", "by": "ana", **more}
    return request_run(stores, ir, options=options, **given)


class Puppets:
    """What `Engine` does in its thread, one turn at a call."""

    def __init__(
        self,
        stores: Stores,
        slots: int = 2,
        team_slots: Callable[[str], int | None] = lambda team: None,
    ) -> None:
        self.stores = stores
        self._slots = slots
        self._team_slots = team_slots
        self._machine = Machine({})
        #: `run/path` → what runs.
        self.orders: dict[str, WorkOrder] = {}
        #: Paths of all that has started.
        self.history: list[str] = []
        #: Attempts that the engine has ended.
        self.killed: list[WorkOrder] = []
        self.steering = self._fresh()

    def _fresh(self) -> Steering:
        turns = Turns(self._team_slots)
        return Steering(self.stores, self._slots, turns, self._machine, monotonic=self.monotonic)

    def monotonic(self) -> float:
        """As far as the clock of the stores goes: where a test moves that, pauses pass, too."""
        return self.stores.clock.now().timestamp()

    def request(self, ir: bytes, options: RunOptions = DEFAULT_OPTIONS, **more: Any) -> str:
        """A run that has begun."""
        run_id = request_only(self.stores, ir, options, **more)
        self.turn()
        return run_id

    def turn(self, ended: Iterable[End] = ()) -> list[WorkOrder]:
        """What started. Takes up what was requested, retried and canceled, too."""
        steering = self.steering
        batch = Batch(self.stores)
        with self.stores.db.transaction(is_relaxed=True) as tx:
            for order, result in ended:
                steering.on_ended(batch, order, result)
                self.orders.pop(order.key, None)
            self._adopt(batch, tx)
            steering.on_time(batch)
            starts = steering.choose(batch, tx)
            batch.flush(tx)
            steering.close_rows(tx)
        self.orders |= {order.key: order for order in starts}
        self.history += paths(starts)
        self.killed += steering.take_kills()
        return starts

    def _adopt(self, batch: Batch, tx: Any) -> None:
        for row in record.load_runs(tx, [RunState.PENDING, RunState.RUNNING]):
            if not self.steering.knows(row.id):
                plan = load_plan(self.stores, row.pipeline_digest)
                self.steering.begin(batch, tx, LiveRun(row, plan, Path("/nowhere", row.id)))
            elif row.cancel_requested_by:
                self.steering.cancel(batch, row)

    def crash(self) -> None:
        """kill -9 between two turns, and an engine that goes on from the rows."""
        with self.stores.db.transaction() as tx:
            for run in record.load_runs(tx, [RunState.RUNNING]):
                record.reset_lost_tasks(tx, run.id)
        self.orders.clear()
        self.steering = self._fresh()
        self.turn()

    def end(self, path: str, result: TaskResult) -> list[WorkOrder]:
        """Ends the one running task of that path."""
        [order] = [order for order in self.orders.values() if order.path == path]
        return self.turn([(order, result)])

    def forget_all(self) -> None:
        """Runs that an example has left that did not come to its end."""
        with self.stores.db.transaction() as tx:
            is_open = RUNS.c.state.in_([RunState.PENDING, RunState.RUNNING])
            tx.execute(update(RUNS).where(is_open).values(state=RunState.CANCELED))

    @property
    def running(self) -> list[str]:
        return [order.path for order in self.orders.values()]

    def rows(self, run_id: str) -> dict[str, Row[Any]]:
        with self.stores.db.read() as connection:
            return {row.name: row for row in record.load_tasks(connection, run_id)}

    def states(self, run_id: str) -> dict[str, str]:
        return {name: row.state for name, row in self.rows(run_id).items()}

    def finish(self, outcome: Callable[[WorkOrder], TaskResult], limit: int = 1_000) -> None:
        """Ends what runs, until nothing does."""
        for _ in range(limit):
            if not self.orders and not self.turn():
                return
            self.turn([(order, outcome(order)) for order in list(self.orders.values())])
        raise AssertionError(f"still running: {self.running}")


def paths(orders: Sequence[WorkOrder]) -> list[str]:
    return [order.path for order in orders]
