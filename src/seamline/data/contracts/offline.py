"""A file held to a contract without a workspace: in a team's own tests, before it is delivered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from seamline.data.checking.keys import KeyCheck
from seamline.data.contracts.reading import read_contract
from seamline.data.declaration import DAY
from seamline.data.sources.batches import Delivery
from seamline.data.sources.files import open_file
from seamline.measure.contracts import NULL_VALUES, Column, Contract, Violation, check_rows
from seamline.measure.contracts.deliveries import check_row_count
from seamline.measure.contracts.violations import add_violations


@dataclass(frozen=True)
class FileCheck:
    rows: int
    violations: list[Violation]


def check_file(
    contract_text: str,
    contract_file: str,
    path: Path,
    folder: Path,
    null_values: Sequence[str] = NULL_VALUES,
) -> FileCheck:
    """Every rule that can be told from the file alone; `folder` is for what has to be unpacked.

    The dataset's keys, freshness and drift need the dataset, and are checked when it is delivered.
    """
    contract = read_contract(contract_text, contract_file, tuple(null_values))
    delivery = open_file(path, folder, name=path.name)
    unique = [
        (column, KeyCheck((column.name,), folder / f"unique-{place}"))
        for place, column in enumerate(contract.columns)
        if column.unique
    ]
    found: list[Violation] = []
    rows = 0
    for frame in delivery.batches():
        checked = check_rows(frame, contract)
        found += checked.violations
        rows += frame.height
        for column, check in unique:
            check.add(_known(checked.typed, column))
    found = add_violations(found, rows)
    for column, check in unique:
        again = partial(_once_more, delivery, contract, column)
        twice = check.violation(again, DAY, rows)
        policy = contract.policy(column.on_breach)
        found += [] if twice is None else [replace(twice, policy=policy)]
    return FileCheck(rows, found + check_row_count(contract, rows, None))


def _once_more(delivery: Delivery, contract: Contract, column: Column) -> Iterator[pl.DataFrame]:
    for frame in delivery.batches():
        known = _known(check_rows(frame, contract).typed, column)
        yield known.with_columns(pl.lit(None, pl.Date()).alias(DAY))


def _known(typed: pl.DataFrame, column: Column) -> pl.DataFrame:
    """Missing values are no keys, and a column that is not there has none."""
    if column.name not in typed.columns:
        return pl.DataFrame(schema={column.name: pl.Int64()})
    return typed.select(column.name).drop_nulls()
