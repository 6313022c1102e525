"""From raw rows to Markdown: medians, ratios, targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
SEAMLINE, FLOOR = "Seamline", "floor"
#: Peers whose workers outlive a task are compared with ours that do.
REUSING = ("joblib", "Dask", "Ray")


def ms_per_task(row: Row) -> float:
    return 1000.0 * float(row["inner_s"]) / int(row["tasks"])


@dataclass(frozen=True)
class Rows:
    rows: Sequence[Row]

    def find(self, **wanted: Any) -> list[Row]:
        return [
            row
            for row in self.rows
            if "error" not in row and all(row.get(key) == value for key, value in wanted.items())
        ]

    def median(self, of: str | Callable[[Row], float], **wanted: Any) -> float | None:
        """None where nothing was measured."""
        found = self.find(**wanted)
        read = of if callable(of) else lambda row: float(row[of])
        return statistics.median(read(row) for row in found) if found else None

    def sizes(self, **wanted: Any) -> list[int]:
        return sorted({row["n"] for row in self.find(**wanted)})

    def ours(self, workload: str, mode: str, n: int | None = None) -> float | None:
        """Milliseconds per task; of the largest size, unless `n` says which."""
        which = {"subject": SEAMLINE, "workload": workload, "mode": mode}
        sizes = self.sizes(**which)
        if not sizes:
            return None
        return self.median(ms_per_task, n=sizes[-1] if n is None else n, **which)


@dataclass(frozen=True)
class Line:
    work: str
    target: str
    measured: str
    #: None: has not been measured.
    is_met: bool | None

    def __str__(self) -> str:
        met = {None: "–", True: "yes", False: "**no**"}[self.is_met]
        return f"| {self.work} | {self.target} | {self.measured} | {met} |"


def at_most(work: str, value: float | None, limit: float, unit: str, digits: int = 1) -> Line:
    """
    >>> print(at_most("chain", 5.25, 8, "ms per task"))
    | chain | ≤ 8 ms per task | 5.2 ms per task | yes |
    """
    if value is None:
        return Line(work, f"≤ {limit:g} {unit}", "–", None)
    return Line(work, f"≤ {limit:g} {unit}", f"{value:.{digits}f} {unit}", value <= limit)


def at_least(work: str, value: float | None, limit: float) -> Line:
    """
    >>> print(at_least("kfp.local", 7.0, 8))
    | kfp.local | ≥ 8 × | 7.0 × | **no** |
    """
    if value is None:
        return Line(work, f"≥ {limit:g} ×", "–", None)
    return Line(work, f"≥ {limit:g} ×", f"{value:.1f} ×", value >= limit)


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def target_lines(rows: Rows, workers: int) -> Iterator[Line]:
    yield from chain_lines(rows)
    yield from fan_out_lines(rows)
    yield from scenario_lines(rows)
    yield from moment_lines(rows, workers)


def chain_lines(rows: Rows) -> Iterator[Line]:
    chain = rows.ours("chain", "forked")
    yield at_most("chain of no-ops, isolated", chain, 8, "ms per task")
    for peer, mode, limit in (
        ("kfp.local", "best", 8),
        ("kfp.local", "default", 100),
        ("Metaflow", "", 40),
        ("Dagster", "multiprocess", 40),
        ("Airflow", "scheduler", 40),
    ):
        theirs = rows.median(ms_per_task, subject=peer, mode=mode, workload="chain")
        name = f"the same, to {peer} {mode}".strip()
        yield at_least(name, ratio(theirs, chain), limit)


def fan_out_lines(rows: Rows) -> Iterator[Line]:
    sizes = rows.sizes(subject=SEAMLINE, workload="fan_out", mode="forked")
    for n in sizes:
        value = rows.ours("fan_out", "forked", n)
        yield at_most(f"fan-out of {n:,} no-ops + collect", value, 6, "ms per task")
    if len(sizes) > 1:
        ends = [rows.ours("fan_out", "forked", n) for n in (sizes[0], sizes[-1])]
        flat = ratio(ends[1], ends[0])
        # Noise of two medians; a quadratic engine would be at 10.
        yield at_most(f"flat: {sizes[-1]:,} to {sizes[0]:,}", flat, 1.2, "×", 2)
    for row in rows.find(workload="memory"):
        more = (row["peak_bytes"] - row["idle_bytes"]) / 1e6
        idle = f"(idle: {row['idle_bytes'] / 1e6:.0f} MB)"
        yield at_most(f"control plane at {row['n']:,} tasks, over idle {idle}", more, 60, "MB", 0)


def scenario_lines(rows: Rows) -> Iterator[Line]:
    which = {"workload": "scenarios", "subject": SEAMLINE, "mode": "forked"}
    sizes = rows.sizes(**which)
    if not sizes:
        return
    n = sizes[-1]
    floor = rows.median("inner_s", subject=FLOOR, mode="fork", workload="scenarios", n=n)
    seconds = rows.median("inner_s", n=n, **which)
    processes = min(row["processes"] for row in rows.find(n=n, **which))
    named = f"{n:,} scenarios × 4 steps"
    told = f" ({seconds:.1f} s; floor {floor:.1f} s)" if seconds and floor else ""
    yield at_most(f"{named}, isolated{told}", ratio(seconds, floor), 1.5, "× the floor", 2)
    counted = f"{processes:,} processes for {4 * n:,} tasks"
    yield Line("the same: each task in a process of its own", "", counted, processes == 4 * n)
    pool = rows.median(ms_per_task, subject=FLOOR, mode="pool", workload="scenarios", n=n)
    reuse = rows.ours("scenarios", "reuse", n)
    over = reuse - pool if reuse is not None and pool is not None else None
    told = f" ({reuse:.2f}; the bare work {pool:.2f} ms per task)" if reuse and pool else ""
    yield at_most(f"the same, worker reuse{told}", over, 1, "ms of overhead per task", 2)
    for peer in ("Ray", "Dask"):
        theirs = rows.median(ms_per_task, subject=peer, mode="", workload="scenarios", n=n)
        yield at_least(f"the same, to {peer}", ratio(theirs, reuse), 1)
    cached = rows.median("inner_s", workload="scenarios", subject=SEAMLINE, mode="cached", n=n)
    yield at_most(f"fully cached re-run of those {4 * n:,} tasks", cached, 1, "s", 2)


def moment_lines(rows: Rows, workers: int) -> Iterator[Line]:
    for mode in ("no-ops", "scenarios"):
        found = rows.find(workload="resume", mode=mode)
        resumed = rows.median("inner_s", workload="resume", mode=mode)
        ready = rows.median("ready_s", workload="resume", mode=mode)
        told = f" (server answers: {ready:.2f} s)" if ready else ""
        work = f"resume after kill -9, {mode}: start of the server → first task{told}"
        yield at_most(work, resumed, 1, "s", 2)
        most = max((len(row["ran_again"]) for row in found), default=None)
        name = f"the same: tasks that ran again, with {workers} in flight"
        yield at_most(name, most, workers, "tasks", 0)
    client = rows.median("inner_s", workload="client")
    yield at_most("`kfp.Client`, 20 tasks until SUCCEEDED", client, 0.6, "s", 2)
    latency = rows.median("inner_s", workload="latency")
    first = None if latency is None else 1000 * latency
    yield at_most("first task of a run starts after submission", first, 50, "ms")


def peer_table(rows: Rows) -> Iterator[str]:
    """Milliseconds per task, and how many times ours that is."""
    yield "| who | chain | fan-out | scenarios | start, s |"
    yield "|---|---|---|---|---|"
    who = dict.fromkeys(
        (str(row["subject"]), str(row["mode"]))
        for row in rows.rows
        if row["workload"] in ("chain", "fan_out", "scenarios")
    )
    for subject, mode in who:
        cells = [
            " · ".join(_cells(rows, subject, mode, workload)) or "–"
            for workload in ("chain", "fan_out", "scenarios")
        ]
        started = [row for row in rows.find(subject=subject, mode=mode) if "start_s" in row]
        start = statistics.median(row["start_s"] for row in started) if started else None
        name = f"{subject} {mode}".strip()
        start_text = "–" if start is None else f"{start:.1f}"
        yield f"| {name} | {' | '.join(cells)} | {start_text} |"


def _cells(rows: Rows, subject: str, mode: str, workload: str) -> Iterator[str]:
    is_ours = subject in (SEAMLINE, FLOOR)
    against = "reuse" if subject in REUSING else "forked"
    for n in rows.sizes(subject=subject, mode=mode, workload=workload):
        value = rows.median(ms_per_task, subject=subject, mode=mode, workload=workload, n=n)
        same = rows.ours(workload, against, n)
        times = ratio(value, same if same is not None else rows.ours(workload, against))
        shown = "" if times is None or is_ours else f" ({times:.3g} ×)"
        yield f"{value:.3g}{shown} n={n}"


def markdown(session: Mapping[str, Any]) -> str:
    rows = Rows(session["rows"])
    lines = [session["about"], "", "| work | target | measured | met |", "|---|---|---|---|"]
    lines += [str(line) for line in target_lines(rows, session["workers"])]
    lines += ["", "Milliseconds per task (times ours):", "", *peer_table(rows)]
    failed = [row for row in rows.rows if "error" in row]
    lines += [
        "",
        *(f"- {row['subject']} {row['mode']} {row['workload']}: failed" for row in failed),
    ]
    return "\n".join(lines).rstrip()
