"""Metaflow's local runtime, `python flow.py run`: each task is a process."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import work

HEAD = """
import sys
sys.path.insert(0, {here!r})
import work
from metaflow import FlowSpec, step


class F(FlowSpec):
"""
FAN_OUT = """
    @step
    def start(self):
        self.items = list(range({n}))
        self.next(self.one, foreach="items")

    @step
    def one(self):
        self.item = work.ident(self.input)
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.result = work.total([one.item for one in inputs])
        self.next(self.end)

    @step
    def end(self):
        open({result!r}, "w").write(str(self.result))
"""
SCENARIOS = """
    @step
    def start(self):
        self.scenarios = list(range({n}))
        self.next(self.prepare, foreach="scenarios")

    @step
    def prepare(self):
        self.scenario = self.input
        self.data = work.prepare(self.scenario)
        self.next(self.train)

    @step
    def train(self):
        self.model = work.train(self.data)
        self.next(self.evaluate)

    @step
    def evaluate(self):
        self.accuracy = work.evaluate(self.model, self.data)
        self.next(self.register)

    @step
    def register(self):
        work.register({registry!r}, self.scenario, self.model, self.accuracy)
        self.next(self.collect)

    @step
    def collect(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        open({result!r}, "w").write("0")
"""
STEP = """
    @step
    def {name}(self):
        self.x = work.noop(self.x)
        {then}
"""


def chain(n: int) -> str:
    """`start` and `end` are tasks of the chain, too."""
    names = ["start", *(f"step_{number}" for number in range(1, n - 1)), "end"]
    body = ""
    for name, after in itertools.pairwise(names):
        body += STEP.format(name=name, then=f"self.next(self.{after})")
    body = body.replace("self.x = work.noop(self.x)", "self.x = work.noop(0)", 1)
    return body + STEP.format(name="end", then='open({result!r}, "w").write(str(self.x))')


def source(job: work.Job, result: Path) -> str:
    body = {"chain": chain(job.n), "fan_out": FAN_OUT, "scenarios": SCENARIOS}[job.workload]
    body = body.replace("{n}", str(job.n)).replace("{result!r}", repr(str(result)))
    body = body.replace("{registry!r}", repr(job.registry))
    here = str(Path(work.__file__).parent)
    return HEAD.format(here=here) + body + '\n\nif __name__ == "__main__":\n    F()\n'


def main() -> None:
    job = work.read_job()
    flow, result = job.folder / "flow.py", job.folder / "result.txt"
    flow.write_text(source(job, result))
    environ = {
        **os.environ,
        "METAFLOW_HOME": str(job.folder / "home"),
        "METAFLOW_USER": "bench",
        "USERNAME": "bench",
        "HOME": str(job.folder),
    }
    command = [sys.executable, str(flow), "--quiet", "--no-pylint", "run"]
    command += ["--max-workers", str(job.workers), "--max-num-splits", "100000"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=job.folder, env=environ, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-3000:])
    own = {"chain": 0, "fan_out": 2, "scenarios": 3}[job.workload]
    work.report(job, seconds, int(result.read_text()), tasks=job.tasks + own)


if __name__ == "__main__":
    main()
