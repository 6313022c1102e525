"""Arrows point down, siblings never import one another, and there is no cycle anywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def test_import_contracts() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-4000:]


def test_no_import_cycle_between_modules() -> None:
    graph = grimp.build_graph("seamline", cache_dir=None)
    edges = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert list(_cycles(edges)) == []


def _cycles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    """Each module on a cycle, with the way back to it (depth first, colours)."""
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            module, leaving = stack.pop()
            if leaving:
                path.pop()
                done.add(module)
            elif module in path:
                yield [*path[path.index(module) :], module]
            elif module not in done:
                path.append(module)
                stack.append((module, True))
                stack.extend((next_one, False) for next_one in edges.get(module, ()))
