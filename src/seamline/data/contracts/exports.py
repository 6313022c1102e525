"""A contract for other tools: a Pandera schema as Python code, and JSON Schema of one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from seamline.measure.casting import POLARS_TYPES, DType
from seamline.measure.contracts import Column, Contract
from seamline.measure.contracts.checking import allowed_values
from seamline.measure.contracts.expressions import write_rule

#: What neither can say is named in what is written, so that nobody takes it for checked.
_LEFT_OUT = "Checked by Seamline alone"


class ExportFormat(StrEnum):
    PANDERA = "pandera"
    JSON_SCHEMA = "json-schema"


_PANDERA_TYPES: Mapping[DType, str] = {
    DType.INT: "pl.Int64",
    DType.FLOAT: "pl.Float64",
    DType.STRING: "pl.String",
    DType.BOOL: "pl.Boolean",
    DType.DATE: "pl.Date",
    DType.DATETIME: 'pl.Datetime("us", "UTC")',
}
_JSON_TYPES: Mapping[DType, dict[str, Any]] = {
    DType.INT: {"type": "integer"},
    DType.FLOAT: {"type": "number"},
    DType.STRING: {"type": "string"},
    DType.BOOL: {"type": "boolean"},
    DType.DATE: {"type": "string", "format": "date"},
    DType.DATETIME: {"type": "string", "format": "date-time"},
}


def export_contract(contract: Contract, name: str, form: ExportFormat) -> str:
    return {
        ExportFormat.PANDERA: pandera_code,
        ExportFormat.JSON_SCHEMA: json_schema_text,
    }[form](contract, name)


def pandera_code(contract: Contract, name: str) -> str:
    """A module for `pandera.polars`, whose `schema` takes a typed frame."""
    schema = {column.name: POLARS_TYPES[column.dtype] for column in contract.columns}
    lines = [f'"""Contract of dataset {_plain(name)}, {contract.digest}.', ""]
    lines += [f"{_LEFT_OUT}: {_plain(one)}." for one in _left_out(contract)]
    rules = [(rule.name, write_rule(rule.holds, schema)) for rule in contract.rules]
    columns = [f"        {one.name!r}: {_pandera_column(one)}," for one in contract.columns]
    is_dated = any("datetime." in code for code in (*columns, *(code for _, code in rules)))
    imports = ["import datetime", ""] if is_dated else []
    lines += ['"""', "", *imports, "import pandera.polars as pa", "import polars as pl", ""]
    lines += ["schema = pa.DataFrameSchema(", "    {"]
    lines += [*columns, "    },"]
    if rules:
        lines.append("    checks=[")
        for rule_name, code in rules:
            held = f"lambda data: data.lazyframe.select({code}.fill_null(True))"
            lines.append(f"        pa.Check({held}, name={rule_name!r}),")
        lines.append("    ],")
    return "\n".join([*lines, f"    name={name!r},", "    strict=True,", ")", ""])


def _pandera_column(column: Column) -> str:
    checks = []
    if column.low is not None:
        checks.append(f"pa.Check.ge({_value(column.low, column.dtype)})")
    if column.high is not None:
        checks.append(f"pa.Check.le({_value(column.high, column.dtype)})")
    if column.values is not None:
        allowed = ", ".join(_python_value(one) for one in allowed_values(column))
        checks.append(f"pa.Check.isin([{allowed}])")
    if column.pattern is not None:
        checks.append(f"pa.Check.str_matches({_whole(column.pattern)!r})")
    if column.unique:
        # Pandera's own would have missing values for equal.
        held = "pl.col(data.key).is_null() | pl.col(data.key).is_unique()"
        checks.append(f"pa.Check(lambda data: data.lazyframe.select({held}), name='unique')")
    said = [_PANDERA_TYPES[column.dtype]]
    said += [f"checks=[{', '.join(checks)}]"] if checks else []
    said.append(f"nullable={column.nullable}")
    said += [] if column.required else ["required=False"]
    return f"pa.Column({', '.join(said)})"


def json_schema_text(contract: Contract, name: str) -> str:
    return json.dumps(json_schema(contract, name), indent=2, ensure_ascii=False) + "\n"


def json_schema(contract: Contract, name: str) -> dict[str, Any]:
    """Of one row as a JSON object, draft 2020-12.

    >>> row = json_schema(Contract((Column("hour", DType.INT, low=0),)), "calls")
    >>> row["properties"]["hour"]
    {'type': ['integer', 'null'], 'minimum': 0}
    """
    left_out = [*_left_out(contract)]
    left_out += [f"rule {rule.name} ({rule.holds})" for rule in contract.rules]
    left_out += [f"{one.name} unique" for one in contract.columns if one.unique]
    comment = {"$comment": f"{_LEFT_OUT}: {'; '.join(left_out)}."} if left_out else {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": f"One row of dataset {name}, contract {contract.digest}.",
        **comment,
        "type": "object",
        "properties": {column.name: _json_column(column) for column in contract.columns},
        "required": [column.name for column in contract.columns if column.required],
        "additionalProperties": False,
    }


def _json_column(column: Column) -> dict[str, Any]:
    data = dict(_JSON_TYPES[column.dtype])
    if column.nullable:
        data["type"] = [data["type"], "null"]
    if column.low is not None:
        data["minimum"] = _value(column.low, column.dtype)
    if column.high is not None:
        data["maximum"] = _value(column.high, column.dtype)
    if column.values is not None:
        data["enum"] = [*_json_values(column), *([None] if column.nullable else [])]
    if column.pattern is not None:
        data["pattern"] = _whole(column.pattern)
    return data


def _json_values(column: Column) -> list[Any]:
    """The closed set as JSON has it: days and times as text."""
    if column.dtype in (DType.DATE, DType.DATETIME):
        return list(column.values or ())
    return allowed_values(column).to_list()


def _python_value(value: object) -> str:
    """
    >>> from datetime import date
    >>> _python_value(date(2013, 7, 9)), _python_value("UA")
    ('datetime.date(2013, 7, 9)', "'UA'")
    """
    return repr(value.astimezone(UTC) if isinstance(value, datetime) else value)


def _value(bound: float, dtype: DType) -> int | float:
    return int(bound) if dtype is DType.INT and float(bound).is_integer() else bound


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def _left_out(contract: Contract) -> Iterator[str]:
    if contract.rows is not None:
        yield "how many rows come"
    if contract.freshness is not None:
        yield "how old the newest event is"
    if contract.unique_in_table:
        yield "keys that the table has already"
    for column in contract.columns:
        if column.drift is not None:
            yield f"drift of {column.name}"


def _plain(text: str) -> str:
    """For a docstring: no quotes that end it, nothing that escapes."""
    return text.replace("\\", "/").replace('"', "'")
