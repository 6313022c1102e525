"""Take in a delivery: check it against the dataset's contract, then make it a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from seamline.data.commit import (
    Intent,
    Progress,
    commit_delivery,
    finish_pending,
    put_basis,
    writing,
)
from seamline.data.declaration import DAY, DatasetDeclaration, with_day
from seamline.data.sources import Delivery, read_delivery
from seamline.data.versions import Dataset, DatasetVersion, find_dataset, version_basis, version_row
from seamline.domain.errors import Conflict, Refused
from seamline.domain.facts import DeliveryRefused
from seamline.measure.basis import make_basis
from seamline.measure.contracts import Contract, Violation, check_frame, infer_contract
from seamline.store.stores import Stores


@dataclass(frozen=True)
class IngestResult:
    """`is_new` is False when the same bytes had been delivered before."""

    version: DatasetVersion
    is_new: bool


def ingest(
    stores: Stores,
    declaration: DatasetDeclaration,
    path: Path,
    *,
    source: str,
    by: str,
    run_id: str | None = None,
    caused_by: str | None = None,
    progress: Progress | None = None,
) -> IngestResult:
    """The version that the file at `path` makes; `source` says where it came from, to people.

    The first delivery makes the contract; later ones are held to it. Raises InvalidInput (cannot
    be read), Refused (breaks the contract: nothing but a fact is written) or Conflict.
    """
    tell = progress or (lambda stage: None)
    tell("reading")
    delivery = read_delivery(path, source)
    with writing(stores, declaration.name):
        finished = finish_pending(stores, declaration.name)
        with stores.db.read() as connection:
            before = version_row(connection, declaration.name, delivery=delivery.digest)
            newest = version_row(connection, declaration.name)
            dataset = find_dataset(connection, declaration.name)
        if before is not None:
            return IngestResult(before, is_new=before == finished)
        tell("checking")
        frame = with_day(delivery.frame, declaration)
        contract = _contract(dataset, declaration, delivery, frame)
        typed = _hold_to_contract(stores, declaration, contract, frame, source, by, caused_by)
        basis = version_basis(stores, newest) if newest else make_basis(typed.drop(DAY))
        intent = Intent(
            delivery_digest=delivery.digest,
            declaration=declaration,
            contract=contract,
            basis_digest=put_basis(stores, basis),
            source=source,
            by=by,
            run_id=run_id,
            caused_by=caused_by,
        )
        return IngestResult(commit_delivery(stores, intent, typed, basis, tell), is_new=True)


def _contract(
    dataset: Dataset | None,
    declaration: DatasetDeclaration,
    delivery: Delivery,
    frame: pl.DataFrame,
) -> Contract:
    if dataset is None:
        return first_contract(frame, declaration, parse=delivery.is_text)
    _check_same_days(dataset.declaration, declaration)
    return replace(dataset.contract, null_values=declaration.null_values)


def first_contract(
    frame: pl.DataFrame, declaration: DatasetDeclaration, *, parse: bool
) -> Contract:
    """The contract that a first delivery makes: its dtypes, over all of its values.

    Only keys and the columns that tell the day stay closed to missing values: that none was
    missing yet is no rule (a sensor fails once a year), and profiles watch the missing share.

    >>> frame = pl.DataFrame({"at": ["2013-01-01"], "temp": ["39.02"]})
    >>> declaration = DatasetDeclaration("weather", time="at")
    >>> [(c.name, c.nullable) for c in first_contract(frame, declaration, parse=True).columns]
    [('at', False), ('temp', True)]
    """
    own = frame.drop(DAY, strict=False)
    inferred = infer_contract(own, declaration.null_values, parse=parse)
    closed = {*declaration.day_columns, *declaration.keys}
    columns = (replace(c, nullable=c.nullable or c.name not in closed) for c in inferred.columns)
    return replace(inferred, columns=tuple(columns))


def _check_same_days(before: DatasetDeclaration, after: DatasetDeclaration) -> None:
    """A day means the same in all versions."""
    if (before.time, before.date, before.zone) != (after.time, after.date, after.zone):
        was = f"{', '.join(before.day_columns)} in {before.zone}"
        now = f"{', '.join(after.day_columns)} in {after.zone}"
        raise Conflict(
            f"The days of dataset {after.name} are those of {was}; it is now declared with {now}.",
            next_step="Declare it as before, or start a dataset of another name.",
        )


def _hold_to_contract(
    stores: Stores,
    declaration: DatasetDeclaration,
    contract: Contract,
    frame: pl.DataFrame,
    source: str,
    by: str,
    caused_by: str | None,
) -> pl.DataFrame:
    """The typed frame with `ds`; or the refusal, recorded as a fact."""
    violations, typed = check_frame(frame.drop(DAY), contract, day=frame[DAY])
    if typed is not None:
        return typed.with_columns(frame[DAY])
    sentences = tuple(violation.sentence() for violation in violations)
    with stores.db.transaction() as tx:
        fact = DeliveryRefused(declaration.name, source, sentences)
        fact_id = stores.facts.append(tx, fact, by=by, caused_by=caused_by)
    raise _refusal(declaration.name, source, violations, fact_id)


def _refusal(dataset: str, source: str, violations: Sequence[Violation], fact_id: str) -> Refused:
    told = "\n".join(violation.sentence() for violation in violations)
    return Refused(
        f"{source} breaks the contract of dataset {dataset} and was refused:\n{told}",
        next_step="Correct the delivery and send it again; the dataset is as it was.",
        dataset=dataset,
        source=source,
        violations=[violation.to_json() for violation in violations],
        fact_id=fact_id,
    )
