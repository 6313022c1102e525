"""The first delivery of a dataset: it makes the contract, and gives the rows for the basis."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from seamline.data.checking.sample import Sample
from seamline.data.days import check_declared_columns, read_times
from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.measure.casting import DType, null_missing
from seamline.measure.contracts import Column, Contract
from seamline.measure.inference import dtype_of, has_long_wholes
from seamline.measure.side_by_side import map_columns


@dataclass(frozen=True)
class _Looked:
    """What a batch of a column, and all before it, tell of its type."""

    name: str
    dtype: DType | None
    has_long_wholes: bool = False
    has_nulls: bool = False


class FirstLook:
    """Shown every batch, it tells the contract: the narrowest dtypes that hold all values.

    Only keys and the columns that tell the day stay closed to missing values: that none was
    missing yet is no rule (a sensor fails once a year), and profiles watch the missing share.

    >>> look = FirstLook(DatasetDeclaration("weather", time="at"), parse=True)
    >>> look.add(pl.DataFrame({"at": ["2013-01-01"], "temp": ["39"]}))
    >>> look.add(pl.DataFrame({"at": ["2013-01-02"], "temp": ["39.02"]}))
    >>> [(c.name, str(c.dtype), c.nullable) for c in look.contract().columns]
    [('at', 'date', False), ('temp', 'float', True)]
    """

    def __init__(self, declaration: DatasetDeclaration, *, parse: bool) -> None:
        self._declaration = declaration
        self._parse = parse
        self._closed = {*declaration.day_columns, *declaration.keys}
        self._dtypes: dict[str, DType | None] = {}
        self._with_nulls: set[str] = set()
        #: Columns with whole numbers that would lose digits should a fraction come.
        self._long_wholes: set[str] = set()
        self._sample = Sample()
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        check_declared_columns(frame.schema, self._declaration)
        looked = map_columns(self._look_at, frame.drop(DAY, strict=False), frame.height)
        for one in looked:
            self._dtypes[one.name] = one.dtype
            if one.has_long_wholes:
                self._long_wholes.add(one.name)
            if one.has_nulls:
                self._with_nulls.add(one.name)
        self._sample.add(frame)
        self.rows += frame.height

    def _look_at(self, series: pl.Series) -> _Looked:
        declaration, name, before = self._declaration, series.name, self._dtypes.get(series.name)
        is_closed = name in self._closed
        values = null_missing(series, declaration.null_values)
        if name == declaration.time:
            values = read_times(series, declaration)
        elif before is DType.STRING and not is_closed:
            return _Looked(name, before)  # text it stays, whatever else comes
        found = dtype_of(values, parse=self._parse, so_far=before)
        is_parsed = self._parse and values.dtype == pl.String
        is_long = is_parsed and found is DType.INT and has_long_wholes(values)
        return _Looked(name, found, is_long, is_closed and values.null_count() > 0)

    def contract(self) -> Contract:
        closed = self._closed
        columns = (
            Column(name, self._told(name, dtype), name not in closed or name in self._with_nulls)
            for name, dtype in self._dtypes.items()
        )
        return Contract(tuple(columns), self._declaration.null_values)

    def _told(self, name: str, dtype: DType | None) -> DType:
        loses_digits = dtype is DType.FLOAT and name in self._long_wholes
        return DType.STRING if dtype is None or loses_digits else dtype

    @property
    def sample(self) -> Sample:
        """Some of the rows as they came, or all of a small delivery."""
        return self._sample
