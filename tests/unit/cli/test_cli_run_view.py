"""The picture of a run on a terminal: it fits, it says what matters, it moves no cursor."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from seamline.cli.run_tree import Size
from seamline.cli.run_view import draw
from seamline.domain.clock import from_iso

START = "2026-01-01T00:00:00.000000Z"
NOW = from_iso(START) + timedelta(seconds=83)
QUIET: dict[str, Any] = {
    "display_name": "",
    "parent": None,
    "kind": "python",
    "attempt": 1,
    "items": None,
    "started_at": START,
    "ended_at": None,
    "wall_s": None,
    "cached_run_id": None,
    "fidelity": None,
    "error": None,
}


def node(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {**QUIET, "name": name, "display_name": name, "state": state, **more}


def task(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "attempt": 1, "started_at": START, "item": None, **more}


def answer(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": "0195",
        "display_name": "nightly",
        "pipeline": "fit-all",
        "environment": "dataops",
        "state": "running",
        "cancel_requested_by": None,
        "started_at": START,
        "ended_at": None,
        "options": {},
        "slots": {"of": 2, "busy": 2, "waiting": 0},
        "tasks": {"running": 1},
        "nodes": [],
        "loops": [],
        "running": [],
        "retrying": [],
        "failed": [],
        "events": [],
    }
    return {**plain, **more}


def large() -> dict[str, Any]:
    """2,000 tasks in 500 iterations."""
    return answer(
        tasks={
            "succeeded": 1200,
            "failed": 40,
            "upstream_failed": 80,
            "pending": 678,
            "running": 2,
        },
        nodes=[
            node("items", "succeeded", wall_s=0.3),
            node("scenarios", "running", kind="loop", items=500),
            node("collect", "pending", started_at=None),
        ],
        loops=[
            {
                "name": "scenarios",
                "iterations": {"succeeded": 172, "failed": 40, "running": 288},
                "opened": 500,
                "tasks": {"succeeded": 1199, "failed": 40, "upstream_failed": 80, "pending": 680},
            }
        ],
        running=[task(f"scenarios[{n}]/fit/train", item=f"origin=JFK, to={n}") for n in (3, 4)],
        failed=[
            task(f"scenarios[{n}]/fit/enough-rows/train", sentence=f"ValueError: {n} has no rows")
            for n in range(20)
        ],
        events=[
            {"task": f"scenarios[{n}]/fit/keep", "state": "succeeded", "wall_s": 0.1}
            for n in range(8)
        ],
    )


def lines(found: dict[str, Any], columns: int = 100, rows: int = 40) -> list[str]:
    return ["".join(text for text, _ in words) for words in draw(found, NOW, Size(columns, rows))]


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("rows", [12, 24, 50])
def test_two_thousand_tasks_fit(columns: int, rows: int) -> None:
    shown = lines(large(), columns, rows)
    assert len(shown) < rows
    assert max(map(len, shown)) <= columns
    assert any("212/500 · 40 failed" in line for line in shown)


def test_what_runs_and_what_failed_can_be_read() -> None:
    shown = "\n".join(lines(large()))
    assert "running 1:23 · 1,320 of 2,000 tasks · 40 failed · 2 of 2 slots" in shown
    assert "running (2)\n  ▸ scenarios[3]/fit/train  origin=JFK, to=3  1:23\n" in shown
    assert "failed (40)\n" in shown
    assert "✗ scenarios[0]/fit/enough-rows/train  ValueError: 0 has no rows" in shown
    assert "… and 34 more" in shown
    assert "○ collect" in shown
    assert shown.index("scenarios[7]/fit/keep") < shown.index("scenarios[6]/fit/keep")


def test_the_bar_counts_tasks_where_iterations_have_not_ended() -> None:
    loop = {
        "name": "loop",
        "iterations": {"running": 10},
        "opened": 10,
        "tasks": {"succeeded": 20, "pending": 20},
    }
    shown = lines(answer(nodes=[node("loop", "running", kind="loop", items=10)], loops=[loop]))
    (line,) = [one for one in shown if "0/10" in one]
    assert line.count("█") == line.count("░") == 12


def test_small_pipelines_are_a_tree() -> None:
    found = answer(
        nodes=[
            node("load", "succeeded", wall_s=1.25),
            node("punctuality", "running", kind="dag"),
            node("punctuality/fit", "running", parent="punctuality", attempt=2),
            node("operations", "pending", kind="dag", started_at=None),
            node("operations/fit", "pending", parent="operations", started_at=None),
            node("flaky", "pending", error="OSError: away"),
            node("again", "skipped", started_at=START, cached_run_id="0194"),
        ]
    )
    assert lines(found)[4:] == [
        "✓ load         1.2 s",
        "▸ punctuality  ",
        "  ▸ fit        1:23  attempt 2",
        "○ operations   ",
        "  ○ fit        waiting",
        "○ flaky        goes again  OSError: away",
        "↺ again        cached",
    ]


def test_a_wide_pipeline_keeps_what_is_not_quiet() -> None:
    nodes = [node(f"step-{n}", "succeeded", wall_s=0.1) for n in range(30)]
    nodes += [node("bad", "failed", error="ValueError: no"), node("busy", "running")]
    nodes += [node(f"later-{n}", "pending") for n in range(20)]
    shown = lines(answer(nodes=nodes), rows=20)
    assert shown[4] == "  … 30 ended"
    assert shown[5].startswith("✗ bad") and "ValueError: no" in shown[5]
    assert shown[6].startswith("▸ busy")
    assert shown[7] == "  … 20 to come"


def test_loops_in_loops_are_counted_below_theirs() -> None:
    inner = {"name": "a[]/b", "iterations": {"succeeded": 3}, "opened": 3, "tasks": {}}
    outer = {"name": "a", "iterations": {"running": 2}, "opened": 2, "tasks": {"succeeded": 3}}
    nodes = [node("a", "running", kind="loop", display_name="airports")]
    shown = lines(answer(nodes=nodes, loops=[outer, inner]))
    assert shown[4].startswith("▸ a") and shown[4].endswith("0/2  airports")
    assert shown[5].startswith("    b") and shown[5].endswith("3/3")


def test_a_run_that_waits_for_others_says_so() -> None:
    assert "waits for a slot" in lines(answer(tasks={"pending": 3}, state="running"))[1]
    assert "1 of its 1 slots" in lines(answer(options={"slots": 1}))[1]
    assert "canceling" in lines(answer(cancel_requested_by="ana"))[1]


def test_what_user_code_says_moves_no_cursor() -> None:
    evil = "\x1b[2J\x1b]0;title\x07gone\r\n"
    found = answer(
        display_name=evil,
        nodes=[node("a", "failed", error=evil), node("loop", "running", kind="loop")],
        loops=[{"name": "loop", "iterations": {"failed": 1}, "opened": 1, "tasks": {"failed": 1}}],
        failed=[task("loop[0]/b", sentence=evil, item=evil)],
        running=[task("loop[0]/c", item=evil)],
        retrying=[{"name": "loop[0]/d", "attempt": 1, "sentence": evil}],
    )
    assert all(letter.isprintable() for line in lines(found) for letter in line)
