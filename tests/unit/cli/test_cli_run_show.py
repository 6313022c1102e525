"""What `seamline run show` says, however many tasks there are."""

from __future__ import annotations

from typing import Any

import pytest

from seamline.cli.run_show import failures_of, say_failures, say_run

AT = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T00:01:30.000000Z"


def task(name: str, state: str = "succeeded", kind: str = "python", **more: Any) -> dict[str, Any]:
    error = more.pop("error", None)
    return {
        "name": name,
        "display_name": name.rpartition("/")[2],
        "group": name.rpartition("/")[0] or None,
        "kind": kind,
        "state": state,
        "attempt": 1,
        "started_at": AT,
        "ended_at": LATER,
        "wall_s": None if kind in ("dag", "loop", "iteration") else 0.2,
        "item": None,
        "cached_from": None,
        "has_log": True,
        "error": error and {"kind": "failed", "type": "ValueError", "message": error},
        **more,
    }


def run(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": "0195",
        "display_name": "0195",
        "pipeline": "fit-all",
        "reference": None,
        "environment": "dataops",
        "state": "partially_failed",
        "requested_by": "ana",
        "created_at": AT,
        "started_at": AT,
        "ended_at": LATER,
        "team": "",
        "reuses_run": None,
        "arguments": {},
        "options": {},
        "notes": [],
        "fidelity": "forked",
        "outputs": None,
        "sentence": "",
    }
    return {**plain, "tasks": list(tasks), **more}


def scenarios(count: int, bad: int) -> list[dict[str, Any]]:
    """A loop whose first `bad` iterations failed."""
    rows = [task("loop", "failed", "loop", display_name="scenarios")]
    for n in range(count):
        state = "failed" if n < bad else "succeeded"
        item = {"origin": "JFK", "n": n}
        rows.append(task(f"loop[{n}]", state, "iteration", group="loop", item=item))
        error = f"{n} has no rows" if n < bad else None
        rows.append(task(f"loop[{n}]/train", state, group=f"loop[{n}]", error=error))
    return rows


def test_a_thousand_scenarios_are_one_line_and_five_failures() -> None:
    said = say_run(run(task("items"), *scenarios(1000, 20)))
    assert len(said.splitlines()) < 30
    assert "partially failed after 1 min 30 s · 1,001 of 1,001 tasks · 20 failed" in said
    assert "980 succeeded, 20 failed  (scenarios)" in said
    assert "  loop[2]/train (origin=JFK, n=2): ValueError: 2 has no rows\n" in said
    assert "… and 15 more: seamline run show 0195 --failed" in said
    assert "loop[999]" not in said


def test_the_next_steps_can_be_copied() -> None:
    said = say_run(run(*scenarios(3, 1)))
    assert said.endswith(
        "next\n  seamline run logs 0195 'loop[0]/train'\n  seamline run retry 0195 --follow"
    )
    assert "seamline run follow 0195" in say_run(run(task("a", "running"), state="running"))
    assert "next" not in say_run(run(task("a"), state="succeeded"))
    assert "next" not in say_run(run(*scenarios(3, 1)), can_go_on=False)


def test_all_of_it_when_asked() -> None:
    said = say_run(run(*scenarios(100, 1)), show_all=True)
    assert "loop[99]/train" in said


def test_a_loop_is_looked_into_trouble_first() -> None:
    rows = scenarios(100, 3)[1:]
    said = say_run(run(*rows), within="loop").splitlines()
    assert [line.split()[0] for line in said[3:6]] == ["loop[0]", "loop[1]", "loop[2]"]
    assert said[6].startswith("… and 97 succeeded: --all")
    inside = say_run(run(task("loop[0]/train", "failed", error="no rows")), within="loop[0]")
    assert "ValueError: no rows" in inside


def test_cached_tasks_notes_and_what_was_left_out() -> None:
    said = say_run(
        run(
            task("a", "skipped", cached_from={"run_id": "0194", "task": "a"}, wall_s=None),
            task("b", "not_triggered", wall_s=None, started_at=None),
            task("c", "upstream_failed", wall_s=None, error="x"),
            notes=["b asks for 1 × A100, which this machine lacks."],
            arguments={"n": 5, "since": "2026"},
            options={"slots": 1},
            outputs={"parameters": {"best": 0.5, "none": None}, "artifacts": {}},
        )
    )
    assert "a     cached    -     from run 0194" in said
    assert "b     left out  -" in said and "c     not run   -" in said
    assert "note        b asks for 1 × A100" in said
    assert "arguments   n=5  since=2026" in said and "options     slots=1" in said
    assert "outputs     best=0.5" in said and "ran as      forked" in said


def test_many_notes_are_cut() -> None:
    said = say_run(run(task("a"), notes=[f"note {n}" for n in range(50)]))
    assert "note 9" in said and "note 10" not in said and "… and 40 more (--json)" in said


def test_what_failed_through_something_else_is_no_failure_of_its_own() -> None:
    group = task("group", "failed", "dag")
    group["error"] = {"kind": "upstream", "type": "FailedInside", "message": "group/a failed."}
    found = run(group, task("group/a", "failed", error="no"), task("x[10]/b", "failed", error="b"),
                task("x[2]/b", "failed", error="b"))  # fmt: skip
    names = [one["name"] for one in failures_of(found["tasks"])]
    assert names == ["group/a", "x[2]/b", "x[10]/b"]
    assert say_failures(found, most=1).splitlines() == [
        "failed (3)",
        "  group/a: ValueError: no",
        "  … and 2 more: seamline run show 0195 --failed",
    ]


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x07", "\r", "\u202e"])
def test_control_characters_stay_outside(evil: str) -> None:
    said = say_run(run(task("a", "failed", error=f"x{evil}y"), display_name=f"n{evil}",
                       notes=[evil], arguments={"n": evil}))  # fmt: skip
    assert evil not in said
