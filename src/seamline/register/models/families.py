"""Models of which there is one per scenario: what each of a family is called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from seamline.domain.errors import InvalidInput
from seamline.register.models.documents import module_of_model


def member_name(family: str, scenario: Mapping[str, Any]) -> str:
    """The family's name and the scenario's values, written as package names are.

    >>> member_name("delay", {"origin": "JFK", "carrier": "AA", "days": 30.0})
    'delay-jfk-aa-30'
    >>> member_name("sales", {"city": "São Paulo", "warmer_than": -7.5})
    'sales-sao-paulo-minus-7-5'
    """
    name = "-".join([family, *(_word(field, value) for field, value in scenario.items())])
    module_of_model(name)
    return name


def _word(field: str, value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise InvalidInput(
            f"{field} = {value!r} cannot be a part of a model's name.",
            next_step="Use fields that hold texts, numbers, true or false.",
        )
    plain = unicodedata.normalize("NFKD", _text(value)).encode("ascii", "ignore").decode()
    word = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if not word:
        raise InvalidInput(
            f"{field} = {value!r} holds nothing that can be a part of a model's name.",
            next_step="Use fields with letters or digits.",
        )
    return word


def _text(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"minus-{abs(whole)}" if whole < 0 else str(whole)
