"""`python -m bench.orchestration`: the engine, its physical floor and its peers, one session.

Prints Markdown and keeps the raw rows as JSON. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.orchestration import kills, measure, plan
from bench.orchestration.peer_runs import Machine, run_peer
from bench.orchestration.report import markdown, ms_per_task
from bench.orchestration.server import Server
from bench.orchestration.venvs import FOLDER_VARIABLE, VENVS, default_folder, ensure

ROOT = Path(__file__).parents[2]


@dataclass
class Session:
    """Rows, written down as they come: what broke later costs nothing of what came before."""

    path: Path
    about: str
    workers: int
    rows: list[measure.Row] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def keep(self, row: measure.Row) -> None:
        self.rows.append({**row, "load": os.getloadavg()[0]})
        self.path.write_text(json.dumps(self.as_json(), indent=1))
        shown = f"{row['inner_s']:.3f} s" if "inner_s" in row else row.get("error", "done")[-300:]
        if "tasks" in row:
            shown += f", {ms_per_task(row):.2f} ms per task"
        at = time.monotonic() - self.began
        what = f"{row['subject']} {row.get('mode', '')} {row['workload']} n={row.get('n', 0)}"
        print(f"{at:6.1f} s  {what}: {shown}", file=sys.stderr, flush=True)

    def attempt(
        self, mode: str, workload: str, measured: Callable[..., Iterable[Any]], *given: Any
    ) -> None:
        """One part of ours that breaks leaves a row that says so, and the others."""
        try:
            for row in measured(*given):
                self.keep(row)
        except Exception as error:
            about = {"subject": measure.SUBJECT, "mode": mode, "workload": workload}
            self.keep({**about, "error": repr(error)})

    def as_json(self) -> dict[str, Any]:
        return {"about": self.about, "workers": self.workers, "rows": self.rows}


def measure_ours(session: Session, machine: Machine, sizes: measure.Sizes) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder) / "workspace", machine.workers)
        with server:
            bench = measure.Bench(server, Path(folder), sizes)
            warm_up(session, bench)
            for _ in range(sizes.runs):
                for one in plan.floor_runs(sizes):
                    session.keep(run_peer(one, machine))
                once(session, bench)
            session.attempt("first task", "latency", bench.latencies)
            session.attempt("kfp.Client", "client", bench.client_runs)
            for _ in range(sizes.runs):
                session.attempt("no-ops", "resume", kills.kill_marks, bench)
            session.attempt("scenarios", "resume", kills.kill_scenarios, bench)


def warm_up(session: Session, bench: measure.Bench) -> None:
    """Also what needs a server that has done nothing yet: its memory, and its first scenarios."""
    session.attempt("", "memory", bench.memory, bench.sizes.fan_out[-1])
    for mode, options in measure.MODES.items():
        for name in (f"{mode}, cold", f"{mode}, second run"):
            session.attempt(name, "scenarios", bench.scenarios, name, options, measure.WARM_UP)


def once(session: Session, bench: measure.Bench) -> None:
    for mode, options in measure.MODES.items():
        session.attempt(mode, "chain", bench.chain, mode, options)
        for n in bench.sizes.fan_out:
            session.attempt(mode, "fan_out", bench.fan_out, mode, options, n)
        scenarios = bench.scenarios if mode != "forked" else bench.scenarios_then_cached
        session.attempt(mode, "scenarios", scenarios, mode, options, bench.sizes.scenarios)


def measure_peers(session: Session, machine: Machine, sizes: measure.Sizes, names: str) -> None:
    for one in plan.select(plan.peer_runs(sizes), names):
        for _ in range(one.repeat):
            row = run_peer(one, machine)
            session.keep(row)
            if "error" in row:
                break


def about() -> str:
    """Machine, commit and versions: one line that belongs to every table."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    changed = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "src"], capture_output=True, text=True
    )
    commit = found.stdout.strip() or "no commit known"
    commit += " with changes" if changed.stdout.strip() else ""
    peers = [text for venv in VENVS for text in venv.requirements]
    return (
        f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {time.strftime('%-d %B %Y')}, "
        f"seamline {importlib.metadata.version('seamline')} ({commit}), "
        f"load at the start {os.getloadavg()[0]:.1f}; {', '.join(peers)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.orchestration", description=__doc__)
    parser.add_argument("--runs", type=int, help="repetitions that medians are taken of")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it all works")
    parser.add_argument("--only", choices=("ours", "peers"))
    parser.add_argument("--peers", default="", help="names of their environments, by commas")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--cache", type=Path, default=default_folder(), help=f"or {FOLDER_VARIABLE}: outside"
    )
    parser.add_argument("--json", type=Path, help="where the rows go; else into the cache")
    parser.add_argument("--prepare", action="store_true", help="make the peers' venvs, no more")
    parser.add_argument("--show", type=Path, help="the tables of rows measured before")
    given = parser.parse_args()
    if given.show:
        print(markdown(json.loads(given.show.read_text())))
        return
    given.cache.mkdir(parents=True, exist_ok=True)
    if given.only != "ours":
        for venv in VENVS:
            if not given.peers or venv.name in given.peers.split(","):
                ensure(given.cache, venv.name)
    if given.prepare:
        return
    carry_out(given)


def carry_out(given: argparse.Namespace) -> None:
    sizes = measure.sizes_of(given.quick, given.runs)
    machine = Machine(given.workers, given.cache)
    path = given.json or given.cache / time.strftime("orchestration-%Y%m%d-%H%M%S.json")
    session = Session(path, about(), given.workers)
    if given.only != "peers":
        measure_ours(session, machine, sizes)
    if given.only != "ours":
        measure_peers(session, machine, sizes, given.peers)
    print(markdown(session.as_json()))
    print(f"raw rows: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
