"""A delivery held to a contract, batch by batch; what is broken is told of the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl

from seamline.data.checking.keys import KeyCheck
from seamline.data.checking.terms import CheckedBatch, Terms
from seamline.data.contracts.quarantine import Quarantine
from seamline.data.days import kinds_of_times
from seamline.data.declaration import DAY
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType
from seamline.measure.contracts import Policy, Violation
from seamline.measure.contracts.violations import add_violations
from seamline.measure.inference import wider


@dataclass(frozen=True)
class _Unique:
    """Keys that may come once; `column` is set where it is one that the contract calls unique:
    then missing values are no keys."""

    check: KeyCheck
    policy: Policy
    column: str | None = None

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame if self.column is None else frame.filter(pl.col(self.column).is_not_null())


class Checker:
    """Gives the rows to be stored of each batch as long as nothing forbids that any is."""

    def __init__(self, terms: Terms, folder: Path) -> None:
        self._terms = terms
        self._unique = _unique_rules(terms, folder)
        self._found: list[Violation] = []
        self._times: tuple[str | None, str | None] = (None, None)
        self._is_refused = False
        self.quarantine = Quarantine(folder / "quarantine")
        #: Columns whose type does not hold what has come, and the types that do: the table has to
        #: become wider, and the delivery to be checked once more.
        self.widened: dict[str, DType] = {}
        self.newest_event: datetime | None = None
        self.rows = self.kept = 0
        #: What `violations` has found.
        self.broken: list[Violation] = []

    def check(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Raises InvalidInput where it cannot be told what the rows mean: their day, their zone."""
        self._check_zones(frame)
        batch = self._terms.check(frame)
        found = batch.checked.violations
        self._found += found
        self._is_refused = self._is_refused or any(one.does is Policy.REFUSE for one in found)
        before, self.rows = self.rows, self.rows + frame.height
        for name, dtype in self._terms.type_changes(batch).items():
            self.widened[name] = wider(self.widened.get(name, dtype), dtype)
        if self._is_refused or self.widened:
            return None
        rows = self._terms.to_store(batch)
        aside = batch.checked.set_aside()
        if aside is not None:
            self.quarantine.add(frame, aside, batch.checked.reasons(aside), before)
            rows = rows.filter(~aside)
        self.kept += rows.height
        for unique in self._unique:
            unique.check.add(unique.rows(rows))
        self._note_newest(batch)
        return rows

    def typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows to be stored; they do not count as rows of the delivery."""
        batch = self._terms.check(frame)
        rows, aside = self._terms.to_store(batch), batch.checked.set_aside()
        return rows if aside is None else rows.filter(~aside)

    def violations(
        self,
        batches: Callable[[], Iterable[pl.DataFrame]],
        table: Callable[[], Iterable[pl.DataFrame]] | None = None,
    ) -> list[Violation]:
        """Of all batches; `batches` is the delivery once more, read only where keys look alike.

        `table`: the keys that are there already, where no row may have one of them.
        """
        self.broken = found = add_violations(self._found, self.rows)
        if self._is_refused or self.widened:
            return found
        for unique in self._unique:
            again = partial(self._once_more, unique, batches)
            twice = unique.check.violation(again, DAY, self.rows)
            found += [] if twice is None else [replace(twice, policy=unique.policy)]
            if table is not None and unique.column is None:
                known = unique.check.known(table, again, DAY, self.rows)
                found += [] if known is None else [replace(known, policy=unique.policy)]
        return found

    def _once_more(
        self, unique: _Unique, batches: Callable[[], Iterable[pl.DataFrame]]
    ) -> Iterator[pl.DataFrame]:
        return (unique.rows(self.typed(frame)) for frame in batches())

    def _note_newest(self, batch: CheckedBatch) -> None:
        if self._terms.contract.freshness is None:
            return
        newest = self._terms.newest_event(batch)
        if newest is not None:
            before = self.newest_event
            self.newest_event = newest if before is None else max(before, newest)

    def _check_zones(self, frame: pl.DataFrame) -> None:
        declaration = self._terms.declaration
        if declaration.time is None or declaration.time not in frame.columns:
            return
        moved, local = kinds_of_times(frame[declaration.time], declaration)
        self._times = self._times[0] or moved, self._times[1] or local
        if all(self._times):
            raise InvalidInput(
                f"Dataset {declaration.name}: some times in {declaration.time} say their offset "
                f"from UTC ({self._times[0]!r}), some do not ({self._times[1]!r}).",
                next_step="Write all of them with an offset, or all as local times of "
                f"{declaration.zone}.",
            )


def _unique_rules(terms: Terms, folder: Path) -> list[_Unique]:
    contract, keys = terms.contract, terms.declaration.keys
    rules = [_Unique(KeyCheck(keys, folder / "keys"), contract.on_breach)] if keys else []
    for place, column in enumerate(contract.columns):
        if column.unique and keys != (column.name,):
            check = KeyCheck((column.name,), folder / f"unique-{place}")
            rules.append(_Unique(check, contract.policy(column.on_breach), column.name))
    return rules
