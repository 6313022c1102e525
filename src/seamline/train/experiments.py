"""Experiments: drawers of one environment that runs and schedules are filed in.

Each environment has one called Default, made when it is first asked for; a run that was filed
nowhere counts as in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import Conflict, InvalidInput, Refused, not_found
from seamline.domain.facts import ExperimentChanged
from seamline.store.stores import Stores
from seamline.train.experiment_rows import EXPERIMENTS
from seamline.train.filing import archive_runs_of
from seamline.train.schedule.schedules import pause_schedules_of
from seamline.train.views.listing import Drawer, Storage

DEFAULT = "Default"
MAX_NAME = 200
_NAMESPACE = UUID("5f0c2f5e-9a3b-5a37-8a53-0c1f6a3f6a11")


@dataclass(frozen=True)
class Experiment:
    id: str
    environment: str
    name: str
    description: str
    storage: Storage
    created_by: str
    created_at: str

    @property
    def is_default(self) -> bool:
        return self.id == default_id(self.environment)

    @property
    def drawer(self) -> Drawer:
        return Drawer(self.id, self.environment if self.is_default else None)


def default_id(environment: str) -> str:
    """The same in every workspace.

    >>> default_id("dataops")
    'a332d6e7-6097-593f-ab31-5198b2ca042f'
    """
    return str(uuid5(_NAMESPACE, environment))


def create_experiment(
    stores: Stores, environment: str, name: str, description: str = "", *, by: str
) -> Experiment:
    """Conflict when the environment has one of that name."""
    if not 1 <= len(name.strip()) <= MAX_NAME:
        raise InvalidInput(f"An experiment's name has 1 to {MAX_NAME} characters: {name[:40]!r}.")
    if name == DEFAULT:
        raise Conflict(f"{environment} has its experiment {DEFAULT!r} already.")
    experiment_id = new_id(stores.clock)
    try:
        with stores.db.transaction() as tx:
            return _insert(stores, tx, experiment_id, environment, name, description, by)
    except IntegrityError:
        raise Conflict(
            f"{environment} has an experiment {name!r} already.",
            next_step="Use it, or choose another name.",
        ) from None


def default_experiment(stores: Stores, environment: str, *, by: str) -> Experiment:
    """Made by the first who asks for it."""
    with stores.db.read() as connection:
        found = _find(connection, default_id(environment))
    if found is not None:
        return found
    try:
        with stores.db.transaction() as tx:
            return _insert(stores, tx, default_id(environment), environment, DEFAULT, "", by)
    except IntegrityError:  # Somebody else was first.
        return find_experiment(stores, default_id(environment))


def _insert(
    stores: Stores,
    tx: Connection,
    experiment_id: str,
    environment: str,
    name: str,
    description: str,
    by: str,
) -> Experiment:
    made = Experiment(
        experiment_id,
        environment,
        name,
        description,
        Storage.AVAILABLE,
        by,
        iso(stores.clock.now()),
    )
    tx.execute(insert(EXPERIMENTS).values(**made.__dict__))
    changed = ExperimentChanged(experiment_id, environment, name, "created")
    stores.facts.append(tx, changed, by=by)
    return made


def find_experiment(stores: Stores, experiment_id: str) -> Experiment:
    with stores.db.read() as connection:
        found = _find(connection, experiment_id)
    if found is None:
        raise not_found("experiment", experiment_id)
    return found


def list_experiments(stores: Stores, environment: str | None = None) -> list[Experiment]:
    """Oldest first."""
    query = select(EXPERIMENTS).order_by(EXPERIMENTS.c.created_at, EXPERIMENTS.c.id)
    if environment is not None:
        query = query.where(EXPERIMENTS.c.environment == environment)
    with stores.db.read() as connection:
        return [_experiment(row._mapping) for row in connection.execute(query)]


def archive_experiment(stores: Stores, experiment_id: str, *, by: str) -> None:
    """Its runs are archived with it, and its schedules pause."""
    with stores.db.transaction() as tx:
        if _set_storage(stores, tx, experiment_id, Storage.ARCHIVED, "archived", by):
            archive_runs_of(stores, tx, _existing(tx, experiment_id).drawer, by=by)
            pause_schedules_of(stores, tx, experiment_id, by=by)


def unarchive_experiment(stores: Stores, experiment_id: str, *, by: str) -> None:
    """Its runs and schedules stay as they are."""
    with stores.db.transaction() as tx:
        _set_storage(stores, tx, experiment_id, Storage.AVAILABLE, "unarchived", by)


def delete_experiment(stores: Stores, experiment_id: str, *, by: str) -> None:
    """Its runs and schedules stay. Refused for the Default one."""
    with stores.db.transaction() as tx:
        found = _existing(tx, experiment_id)
        if found.is_default:
            raise Refused(
                f"The experiment {DEFAULT!r} of {found.environment} cannot be deleted.",
                next_step="Runs that name no experiment are filed there; archive it instead.",
            )
        tx.execute(delete(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment_id))
        changed = ExperimentChanged(found.id, found.environment, found.name, "deleted")
        stores.facts.append(tx, changed, by=by)


def _set_storage(
    stores: Stores, tx: Connection, experiment_id: str, storage: Storage, change: str, by: str
) -> bool:
    """Whether it was elsewhere before."""
    found = _existing(tx, experiment_id)
    if found.storage is storage:
        return False
    tx.execute(update(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment_id).values(storage=storage))
    changed = ExperimentChanged(found.id, found.environment, found.name, change)
    stores.facts.append(tx, changed, by=by)
    return True


def _existing(connection: Connection, experiment_id: str) -> Experiment:
    found = _find(connection, experiment_id)
    if found is None:
        raise not_found("experiment", experiment_id)
    return found


def _find(connection: Connection, experiment_id: str) -> Experiment | None:
    query = select(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment_id)
    row = connection.execute(query).mappings().one_or_none()
    return _experiment(row) if row else None


def _experiment(row: Any) -> Experiment:
    return Experiment(**{**row, "storage": Storage(row["storage"])})
