"""The first delivery of a dataset: it makes the contract, and gives the rows for the basis."""

from __future__ import annotations

import polars as pl

from seamline.data.checking.sample import Sample
from seamline.data.days import check_declared_columns, read_times
from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.measure.casting import DType, null_missing
from seamline.measure.contracts import Column, Contract
from seamline.measure.inference import dtype_of, has_long_wholes


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
        self._dtypes: dict[str, DType | None] = {}
        self._with_nulls: set[str] = set()
        #: Columns with whole numbers that would lose digits should a fraction come.
        self._long_wholes: set[str] = set()
        self._sample = Sample()
        self.rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        declaration = self._declaration
        check_declared_columns(frame.schema, declaration)
        closed = {*declaration.day_columns, *declaration.keys}
        for series in frame.drop(DAY, strict=False):
            name = series.name
            values = null_missing(series, declaration.null_values)
            if name == declaration.time:
                values = read_times(series, declaration)
            elif self._dtypes.get(name) is DType.STRING and name not in closed:
                continue  # text it stays, whatever else comes
            before = self._dtypes.get(name)
            self._dtypes[name] = found = dtype_of(values, parse=self._parse, so_far=before)
            is_parsed = self._parse and values.dtype == pl.String
            if is_parsed and found is DType.INT and has_long_wholes(values):
                self._long_wholes.add(name)
            if name in closed and values.null_count():
                self._with_nulls.add(name)
        self._sample.add(frame)
        self.rows += frame.height

    def contract(self) -> Contract:
        declaration = self._declaration
        closed = {*declaration.day_columns, *declaration.keys}
        columns = (
            Column(name, self._told(name, dtype), name not in closed or name in self._with_nulls)
            for name, dtype in self._dtypes.items()
        )
        return Contract(tuple(columns), declaration.null_values)

    def _told(self, name: str, dtype: DType | None) -> DType:
        loses_digits = dtype is DType.FLOAT and name in self._long_wholes
        return DType.STRING if dtype is None or loses_digits else dtype

    @property
    def sample(self) -> Sample:
        """Some of the rows as they came, or all of a small delivery."""
        return self._sample
