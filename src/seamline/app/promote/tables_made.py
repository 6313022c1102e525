"""The tables that a release's pipelines make, against the contracts that are declared for them.

Consumers read them as datasets (`from_output = "pipeline.output"`): what they may expect is what
the dataset's contract says. Looked at is what the newest run of the very pipeline has made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from seamline.app.platform import Platform
from seamline.data.contracts.declared import find_declared
from seamline.data.declaration import DatasetDeclaration
from seamline.domain.errors import Conflict, NotFound, Refused
from seamline.domain.states import RunState
from seamline.measure.contracts import Contract, ViolationKind, check_frame
from seamline.promote.environments import list_environments
from seamline.promote.release import Pin, StoredRelease
from seamline.register.names import normalised_package
from seamline.train.artifacts import Artifact
from seamline.train.runs import run_output, runs_of_pipelines

#: What a table is, whatever its rows say.
_OF_FORM = (ViolationKind.MISSING_COLUMN, ViolationKind.MISTYPED)
#: Enough to tell what a column holds.
_ROWS = 1_000


@dataclass(frozen=True)
class TableFound:
    """`run_id` is None where the pipeline has not made the table yet."""

    dataset: str
    pipeline: str
    contract_digest: str
    run_id: str | None
    broken: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        return {
            "dataset": self.dataset,
            "pipeline": self.pipeline,
            "contract": self.contract_digest,
            "run": self.run_id,
            "broken": list(self.broken),
        }


def look_at_tables(
    platform: Platform, environment: str, release: StoredRelease
) -> list[TableFound]:
    return [
        _look(platform, environment, pin, output, declared, contract)
        for pin, output, declared, contract in _contracted(platform, release)
    ]


def _contracted(
    platform: Platform, release: StoredRelease
) -> Iterator[tuple[Pin, str, DatasetDeclaration, Contract]]:
    pins = {normalised_package(pin.name): pin for pin in release.release.pipelines}
    for declared in platform.declarations().datasets.values():
        name, _, output = (declared.from_output or "").partition(".")
        pin = pins.get(normalised_package(name))
        if pin is None:
            continue
        try:
            with platform.stores.db.read() as connection:
                contract = find_declared(connection, declared)
        except Conflict:
            continue  # not applied: nobody is promised anything
        if contract is not None:
            yield pin, output, declared, contract


def _look(
    platform: Platform,
    environment: str,
    pin: Pin,
    output: str,
    declared: DatasetDeclaration,
    contract: Contract,
) -> TableFound:
    found = TableFound(declared.name, pin.name, contract.digest, None)
    for run_id in _runs(platform, environment, pin):
        frame = _first_rows(platform, run_id, output)
        if frame is not None:
            broken = [
                one.sentence() for one in check_frame(frame, contract)[0] if one.kind in _OF_FORM
            ]
            return TableFound(declared.name, pin.name, contract.digest, run_id, tuple(broken))
    return found


def _runs(platform: Platform, environment: str, pin: Pin) -> Iterator[str]:
    """Of the environment first, then of the others."""
    with platform.stores.db.read() as connection:
        names = [one.name for one in list_environments(connection)]
    for name in sorted(names, key=lambda one: one != environment):
        done = runs_of_pipelines(platform.stores, name, [pin.digest], RunState.SUCCEEDED)
        yield from (str(run["id"]) for run in done[:1])


def _first_rows(platform: Platform, run_id: str, output: str) -> pl.DataFrame | None:
    try:
        made = run_output(platform.stores, run_id, output)
    except (NotFound, Refused):
        return None
    if not isinstance(made, Artifact) or not made.is_blob or made.is_directory:
        return None
    path = platform.stores.blobs.verified_path(made.digest, f"output {output} of run {run_id}")
    try:
        return pl.read_parquet(path, n_rows=_ROWS)
    except pl.exceptions.PolarsError:
        return None
