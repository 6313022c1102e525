"""A file held to a contract without a workspace: in a team's own tests, before it is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seamline.data.contracts.reading import read_contract
from seamline.data.sources.files import open_file
from seamline.measure.contracts import NULL_VALUES, Violation, check_rows
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

    Keys, freshness and drift need the dataset, and are checked when it is delivered.
    """
    contract = read_contract(contract_text, contract_file, tuple(null_values))
    found: list[Violation] = []
    rows = 0
    for frame in open_file(path, folder, name=path.name).batches():
        found += check_rows(frame, contract).violations
        rows += frame.height
    return FileCheck(rows, add_violations(found, rows) + check_row_count(contract, rows, None))
