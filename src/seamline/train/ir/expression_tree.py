"""The syntax tree of an expression: plain values, compared and hashed by what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Input:
    """`inputs.parameter_values['name']`."""

    name: str


@dataclass(frozen=True)
class Whole:
    """`string_value`: the value that a selector takes a part of."""


@dataclass(frozen=True)
class Call:
    #: int, double, string, bool or parseJson.
    function: str
    argument: Tree


@dataclass(frozen=True)
class Part:
    """`of["key"]`, `of[0]`."""

    of: Tree
    key: str | int


@dataclass(frozen=True)
class Not:
    operand: Tree


@dataclass(frozen=True)
class Compare:
    left: Tree
    operator: str
    right: Tree


@dataclass(frozen=True)
class Chain:
    """All of (`&&`) or any of (`||`) two or more operands."""

    operator: str
    operands: tuple[Tree, ...]


Tree = Constant | Input | Whole | Call | Part | Not | Compare | Chain


def walk(tree: Tree) -> Iterator[Tree]:
    """The node and all below it, from left to right."""
    yield tree
    for child in _children(tree):
        yield from walk(child)


def _children(tree: Tree) -> tuple[Tree, ...]:
    match tree:
        case Call(_, child) | Part(child, _) | Not(child):
            return (child,)
        case Compare(left, _, right):
            return (left, right)
        case Chain(_, operands):
            return operands
    return ()
