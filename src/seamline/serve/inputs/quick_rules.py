"""Whether a few rows keep all rules of the contract, for certain and at once.

Nearly all do. What this cannot vouch for is asked of `check_inputs`, which knows all
rules and says which value breaks which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seamline.measure.rules.cells import CellKind
from seamline.serve.datatypes import Columns
from seamline.serve.snapshots.input_rules import InputExpression, InputRule

_PYTHON_TYPES: dict[CellKind, set[type]] = {
    CellKind.INT: {int},
    CellKind.FLOAT: {float, int},
    CellKind.STRING: {str},
    CellKind.BOOL: {bool},
}


class QuickRules:
    def __init__(
        self, rules: Sequence[InputRule], expressions: Sequence[InputExpression] = ()
    ) -> None:
        self._checks = [_Check(rule) for rule in rules]
        self._is_simple = not expressions and all(check.is_simple for check in self._checks)

    def are_kept(self, columns: Columns) -> bool:
        """True for certain; False says nothing."""
        if not self._is_simple:
            return False
        for check in self._checks:
            values = columns.get(check.column)
            if values is not None and (type(values) is not list or not check.is_kept(values)):
                return False
        return True


class _Check:
    def __init__(self, rule: InputRule) -> None:
        self.column = rule.column
        self._types = _PYTHON_TYPES.get(rule.kind, set()) if rule.kind else set()
        self._nullable = rule.nullable
        self._low = -float("inf") if rule.low is None else rule.low
        self._high = float("inf") if rule.high is None else rule.high
        self._values = None if rule.values is None else frozenset(rule.values)
        self._missing = frozenset(rule.missing)
        self._is_text = rule.kind is CellKind.STRING
        is_listed = rule.values is None or self._is_text
        self.is_simple = bool(self._types) and rule.pattern is None and is_listed

    def is_kept(self, values: list[Any]) -> bool:
        for value in values:
            if value is None or value != value:
                if not self._nullable:
                    return False
            elif type(value) not in self._types:
                return False
            elif self._is_text:
                if value in self._missing:
                    return False
                if self._values is not None and value not in self._values:
                    return False
            elif not self._low <= value <= self._high:
                return False
        return True
