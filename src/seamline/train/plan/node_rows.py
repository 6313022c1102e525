"""Rows of nodes that nothing has happened to yet."""

from __future__ import annotations

from typing import Any

from seamline.domain.states import TaskState
from seamline.train.plan.scope import OpenLoop
from seamline.train.plan.types import NodeKind, PlannedNode


def node_row(scope_path: str, position: int, node: PlannedNode) -> dict[str, Any]:
    prefix = f"{scope_path}/" if scope_path else ""
    group = node.gate.group
    return {
        "name": prefix + node.name,
        "parent": prefix + group if group is not None else scope_path or None,
        "position": position,
        "kind": node.kind,
        "component": node.component.name,
        "display_name": node.display_name,
        "state": TaskState.PENDING,
        "attempt": 0,
        "failures": 0,
    }


def iteration_row(loop: OpenLoop, index: int, item: str) -> dict[str, Any]:
    return {
        "name": loop.path_at(index),
        "parent": loop.path,
        "position": index,
        "kind": NodeKind.ITERATION,
        "component": loop.node.component.name,
        "display_name": f"{loop.node.display_name}[{index}]",
        "state": TaskState.PENDING,
        "attempt": 0,
        "failures": 0,
        "item_index": index,
        "item": item,
    }
