"""How many runs are in which state."""

from __future__ import annotations

from sqlalchemy import func, select

from seamline.domain.states import RunState
from seamline.store.stores import Stores
from seamline.train.rows import RUNS


def count_runs(stores: Stores) -> dict[RunState, int]:
    """Every state is there, also with 0."""
    query = select(RUNS.c.state, func.count()).group_by(RUNS.c.state)
    with stores.db.read() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in RunState}
