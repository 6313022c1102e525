"""A contract → YAML that people read, edit and review. Reading it gives the same contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from seamline.measure.contracts import Column, Contract, Policy

#: What YAML takes as a text without quotes, whichever version of it reads.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
_DAY_S, _HOUR_S, _MINUTE_S = 86_400, 3_600, 60


def write_contract(
    contract: Contract, title: str = "", hints: Mapping[str, str] | None = None
) -> str:
    """`hints`: comments on columns' lines, by name.

    >>> from seamline.measure.casting import DType
    >>> hour = Column("hour", DType.INT, nullable=False, low=0)
    >>> print(write_contract(Contract((hour,)), hints={"hour": "5 to 23 so far"}), end="")
    on_breach: refuse
    columns:
      hour: {type: int, nullable: false, at_least: 0}  # 5 to 23 so far
    """
    hints = hints or {}
    lines = [f"# {line}".rstrip() for line in title.splitlines()]
    lines.append(f"on_breach: {contract.on_breach}")
    lines += list(_whole_rules(contract))
    lines.append("columns:" if contract.columns else "columns: {}")
    for column in contract.columns:
        comment = f"  # {_one_line(hints[column.name])}" if column.name in hints else ""
        lines.append(f"  {_text(column.name)}: {_flow(_column(column))}{comment}")
    if contract.rules:
        lines.append("rules:")
    for rule in contract.rules:
        lines += [f"  - name: {_text(rule.name)}", f"    holds: {_quoted(rule.holds)}"]
        lines += [f"    on_breach: {rule.on_breach}"] if rule.on_breach else []
    return "\n".join(lines) + "\n"


def _whole_rules(contract: Contract) -> Iterator[str]:
    rows, fresh = contract.rows, contract.freshness
    if rows is not None:
        shares = {"at_least": rows.least_share, "at_most": rows.most_share}
        fields = {"at_least": _number(rows.at_least), "at_most": _number(rows.at_most)}
        told = {key: _number(value) for key, value in shares.items() if value is not None}
        fields["of_previous"] = _flow(told) if told else None
        yield f"rows: {_flow(_with_policy(fields, rows.on_breach))}"
    if fresh is not None:
        fields = {"max_age": _duration(fresh.max_age_s)}
        yield f"freshness: {_flow(_with_policy(fields, fresh.on_breach))}"
    if contract.unique_in_table:
        yield "keys: {unique_in: table}"


def _column(column: Column) -> dict[str, str | None]:
    drift = _number(column.drift)
    if column.on_drift is not None:
        drift = _flow({"psi": drift, "on_breach": str(column.on_drift)})
    fields = {
        "type": str(column.dtype),
        "nullable": None if column.nullable else "false",
        "required": None if column.required else "false",
        "at_least": _number(column.low),
        "at_most": _number(column.high),
        "one_of": None
        if column.values is None
        else f"[{', '.join(_text(value) for value in column.values)}]",
        "matches": None if column.pattern is None else _quoted(column.pattern),
        "unique": "true" if column.unique else None,
        "drift": drift,
    }
    return _with_policy(fields, column.on_breach)


def _with_policy(fields: Mapping[str, str | None], policy: Policy | None) -> dict[str, str | None]:
    return {**fields, "on_breach": None if policy is None else str(policy)}


def _flow(fields: Mapping[str, str | None]) -> str:
    said = (f"{key}: {value}" for key, value in fields.items() if value is not None)
    return "{" + ", ".join(said) + "}"


def _number(value: float | None) -> str | None:
    """
    >>> _number(23.0), _number(0.25), _number(1e20)
    ('23', '0.25', '100000000000000000000')
    """
    if value is None:
        return None
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _text(value: str) -> str:
    """
    >>> _text("UA"), _text("no"), _text("12"), _text("a: b")
    ('UA', '"no"', '"12"', '"a: b"')
    """
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _quoted(value)


def _quoted(value: str) -> str:
    """
    >>> _quoted('say "no"')
    '"say \\\\"no\\\\""'
    """
    inner = value.replace("\\", "\\\\").replace('"', '\\"')
    letters = (one if one.isprintable() else f"\\U{ord(one):08x}" for one in inner)
    return f'"{"".join(letters)}"'


def _duration(seconds: float) -> str:
    for size, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if seconds and not seconds % size:
            return f"{int(seconds // size)}{unit}"
    return f"{_number(seconds)}s"


def _one_line(text: str) -> str:
    return " ".join(text.split())
