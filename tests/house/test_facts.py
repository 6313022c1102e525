"""Each fact type is appended by exactly one room: the one that it names."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from seamline.domain.facts import FACT_TYPES

SOURCE = Path(__file__).parents[2] / "src" / "seamline"


def _rooms_that_make_facts() -> dict[str, set[str]]:
    names = {cls.__name__ for cls in FACT_TYPES.values()}
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in names:
                    rooms[name].add(room)
    return rooms


def test_each_fact_type_has_exactly_one_appending_room() -> None:
    assert _rooms_that_make_facts() == {cls.__name__: {cls.room} for cls in FACT_TYPES.values()}
