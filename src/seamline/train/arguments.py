"""A run's arguments against what its pipeline declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.types import ParameterSpec
from seamline.train.ir.values import MAX_SAFE_INTEGER, check_literals, check_value, parse_text
from seamline.train.plan.sources import ABSENT


def check_arguments(specs: Mapping[str, ParameterSpec], given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of the run, cast and with defaults filled in.

    An optional parameter without a default and without a value is left out.
    Raises InvalidInput naming the parameter, what was wanted and what came.
    """
    for name in given:
        if name not in specs:
            raise InvalidInput(
                f"The pipeline has no parameter {name!r}.",
                next_step=nearest(name, specs),
                parameter=name,
            )
    checked = {name: _check_one(name, spec, given) for name, spec in specs.items()}
    return {name: value for name, value in checked.items() if value is not ABSENT}


def parse_arguments(specs: Mapping[str, ParameterSpec], texts: Mapping[str, str]) -> dict[str, Any]:
    """Arguments written by hand (`n=5`), by the declared types; unknown names stay as they are."""
    return {
        name: parse_text(text, specs[name].type, f"Parameter {name!r}") if name in specs else text
        for name, text in texts.items()
    }


def _check_one(name: str, spec: ParameterSpec, given: Mapping[str, Any]) -> Any:
    value = given.get(name)
    if value is None:
        if spec.has_default:
            return spec.default
        if spec.is_optional:
            return ABSENT
        raise InvalidInput(
            f"The parameter {name!r} ({spec.type}) has no value and no default.",
            next_step=f"Give it: {name}=…",
            parameter=name,
        )
    value = check_value(value, spec.type, f"Parameter {name!r}")
    _check_exact(value, name)
    return check_literals(value, spec, f"Parameter {name!r}")


def _check_exact(value: Any, name: str) -> None:
    """Refuses numbers that JSON readers would not agree on."""
    if isinstance(value, list):
        for item in value:
            _check_exact(item, name)
    elif isinstance(value, dict):
        for item in value.values():
            _check_exact(item, name)
    elif isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise InvalidInput(
            f"Parameter {name!r} holds {value}, beyond ±(2^53 - 1).", next_step="Send it as text."
        )
    elif isinstance(value, float) and value - value != 0:
        raise InvalidInput(f"Parameter {name!r} holds {value}.", next_step="Send a finite number.")
