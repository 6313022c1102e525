"""Contracts: what the columns of a dataset must be, inferred from a frame and then edited."""

from __future__ import annotations

from seamline.measure.contracts.checking import (
    check_contract,
    check_frame,
    check_rows,
    infer_contract,
)
from seamline.measure.contracts.terms import (
    NULL_VALUES,
    Column,
    Contract,
    Freshness,
    Policy,
    RowBounds,
    RowRule,
)
from seamline.measure.contracts.violations import Violation, ViolationKind

__all__ = [
    "NULL_VALUES",
    "Column",
    "Contract",
    "Freshness",
    "Policy",
    "RowBounds",
    "RowRule",
    "Violation",
    "ViolationKind",
    "check_contract",
    "check_frame",
    "check_rows",
    "infer_contract",
]
