"""What people call the kind of a value that came as JSON."""

from __future__ import annotations

from typing import Any


def kind_of(value: Any) -> str:
    """
    >>> kind_of(True), kind_of(1.5), kind_of({})
    ('a boolean', 'a number', 'an object')
    """
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
    return "an object"
