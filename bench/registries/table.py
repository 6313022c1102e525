"""Medians and Markdown rows."""

from __future__ import annotations

from collections.abc import Sequence


def show_head(*names: str) -> None:
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)


def show_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def p95(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.95)]
