"""Results that may stand in for a task: of any with the same key, or of a run that is re-run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from seamline.domain.clock import iso, new_id
from seamline.domain.states import Fidelity, TaskState
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.record import artifact_of
from seamline.train.results import StartedImage, TaskResult
from seamline.train.rows import ARTIFACTS, TASKS

#: Below the number of variables that every SQLite takes.
_CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Hit:
    run_id: str
    task: str
    ended_at: str
    fidelity: Fidelity | None
    packages_digest: str | None
    image: StartedImage | None
    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]

    def result(self, stores: Stores) -> TaskResult:
        """As the result of another task: its artifacts are new ones, of the same bytes."""
        return TaskResult(
            TaskState.SKIPPED,
            self.parameters,
            {
                name: dataclasses.replace(artifact, id=new_id(stores.clock))
                for name, artifact in self.artifacts.items()
            },
            packages_digest=self.packages_digest,
            image=self.image,
        )


def look_up(
    connection: Connection, stores: Stores, keys: Sequence[str], max_age_s: float | None
) -> dict[str, Hit]:
    """Key → the newest result with it; one whose bytes are gone is no result."""
    oldest = "" if max_age_s is None else _oldest(stores.clock.now(), max_age_s)
    found: dict[str, Row[Any]] = {}
    for chunk in _chunks(keys):
        for row in connection.execute(_newest_results(), {"keys": chunk, "oldest": oldest}):
            found[row.cache_key] = row
    return _hits(connection, stores, found)


@lru_cache(maxsize=1)
def _newest_results() -> Select[Any]:
    """Made once: to put it together takes longer than to execute it, and each turn asks.

    A key may have as many results as there were nights: only the newest is read.
    """
    wanted = (TASKS.c.state == TaskState.SUCCEEDED) & (TASKS.c.ended_at >= bindparam("oldest"))
    has_key = TASKS.c.cache_key.in_(bindparam("keys", expanding=True))
    times = select(TASKS.c.cache_key, func.max(TASKS.c.ended_at).label("at"))
    newest = times.where(has_key, wanted).group_by(TASKS.c.cache_key).subquery()
    is_newest = (newest.c.cache_key == TASKS.c.cache_key) & (newest.c.at == TASKS.c.ended_at)
    query = select(TASKS).join(newest, is_newest).where(wanted)
    return query.order_by(TASKS.c.run_id, TASKS.c.name)


def look_up_run(
    connection: Connection, stores: Stores, run_id: str, keys: Mapping[str, str]
) -> dict[str, Hit]:
    """Task → its result in that run, where it has the same key there. `keys`: task → key."""
    good = TASKS.c.state.in_([TaskState.SUCCEEDED, TaskState.SKIPPED])
    found: dict[str, Row[Any]] = {}
    for chunk in _chunks(list(keys)):
        query = select(TASKS).where(TASKS.c.run_id == run_id, TASKS.c.name.in_(chunk), good)
        for row in connection.execute(query):
            if row.cache_key == keys[row.name]:
                found[row.name] = row
    return _hits(connection, stores, found)


def _hits(connection: Connection, stores: Stores, rows: Mapping[str, Row[Any]]) -> dict[str, Hit]:
    made = _artifacts_of(connection, rows.values())
    hits: dict[str, Hit] = {}
    for key, row in rows.items():
        artifacts = made.get((row.run_id, row.name), {})
        if all(_is_there(stores, artifact) for artifact in artifacts.values()):
            hits[key] = Hit(
                run_id=row.cached_run_id or row.run_id,
                task=row.cached_task or row.name,
                ended_at=row.ended_at,
                fidelity=Fidelity(row.fidelity) if row.fidelity else None,
                packages_digest=row.packages_digest,
                image=StartedImage(row.image, row.image_digest) if row.image else None,
                parameters=json.loads(row.outputs) if row.outputs else {},
                artifacts=artifacts,
            )
    return hits


def _is_there(stores: Stores, artifact: Artifact) -> bool:
    """Its bytes are kept; whether they are the right ones is checked where they are used."""
    blobs = stores.blobs
    if not artifact.is_blob or not artifact.is_directory:
        return not artifact.is_blob or blobs.holds(artifact.digest)
    try:
        manifest = json.loads(blobs.path_of(artifact.digest).read_bytes())
    except (OSError, ValueError):
        return False
    return all(blobs.holds(digest) for digest in manifest.values())


def _artifacts_of(
    connection: Connection, rows: Iterator[Row[Any]] | Any
) -> dict[tuple[str, str], dict[str, Artifact]]:
    """By run, since a run's artifacts are filed under it."""
    by_run: dict[str, list[str]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row.name)
    made: dict[tuple[str, str], dict[str, Artifact]] = {}
    for run_id, names in by_run.items():
        for chunk in _chunks(names):
            query = select(ARTIFACTS).where(
                ARTIFACTS.c.run_id == run_id, ARTIFACTS.c.task.in_(chunk)
            )
            for row in connection.execute(query):
                made.setdefault((run_id, row.task), {})[row.output] = artifact_of(row)
    return made


def _oldest(now: datetime, max_age_s: float) -> str:
    try:
        return iso(now - timedelta(seconds=max_age_s))
    except OverflowError:
        return ""


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
