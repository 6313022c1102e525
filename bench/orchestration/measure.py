"""Seamline's side: what is measured of a warm server, through its API and the stock client."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kfp
from bench.memory import pss_bytes
from bench.orchestration import pipelines
from bench.orchestration.server import Finished, MemoryWatch, Server, epoch_of

Row = dict[str, Any]
SUBJECT = "Seamline"
#: The documented default is the first; both keep everything durable.
MODES: Mapping[str, Mapping[str, Any]] = {"forked": {}, "reuse": {"isolation": "reuse"}}
#: After it is ready, what was started in the background may still be importing.
SETTLE_S = 4.0
#: Tasks that the next runs of the same requirement set find warm.
WARM_UP = 4


@dataclass(frozen=True)
class Sizes:
    chain: int = 20
    fan_out: tuple[int, ...] = (200, 2000)
    scenarios: int = 500
    marks: int = 200
    #: Scenarios of the run that is killed.
    killed: int = 25
    latencies: int = 20
    client_runs: int = 5
    runs: int = 3


QUICK = Sizes(
    fan_out=(20, 100), scenarios=10, marks=40, killed=6, latencies=5, client_runs=2, runs=1
)


def sizes_of(is_quick: bool, runs: int | None) -> Sizes:
    sizes = QUICK if is_quick else Sizes()
    return sizes if runs is None else replace(sizes, runs=runs)


@dataclass(frozen=True)
class Bench:
    server: Server
    folder: Path
    sizes: Sizes
    _salts: Iterator[int] = field(default_factory=lambda: itertools.count(1000, 1000))

    def ir(self, pipeline: Callable[..., Any]) -> str:
        return pipelines.compiled(pipeline, str(self.folder / "pipeline.yaml"))

    # -- the workloads -------------------------------------------------------------------------

    def chain(self, mode: str, options: Mapping[str, Any]) -> Iterator[Row]:
        n, salt = self.sizes.chain, next(self._salts)
        done = self.server.run(self.ir(pipelines.chain(n)), {"salt": salt}, options)
        assert done.output == salt + n, done.output
        yield row(mode, "chain", n, n, done)

    def fan_out(self, mode: str, options: Mapping[str, Any], n: int) -> Iterator[Row]:
        salt = next(self._salts)
        done = self.server.run(self.ir(pipelines.fan_out(n)), {"salt": salt}, options)
        assert done.output == sum(range(n)) + n * salt, done.output
        yield row(mode, "fan_out", n, n + 1, done)

    def scenarios(self, mode: str, options: Mapping[str, Any], n: int) -> Iterator[Row]:
        yield self._scenarios(mode, options, n, next(self._salts))
        shutil.rmtree(self._registry)

    def scenarios_then_cached(self, mode: str, options: Mapping[str, Any], n: int) -> Iterator[Row]:
        """The run, and the same one again, in which no component may run."""
        salt = next(self._salts)
        yield self._scenarios(mode, options, n, salt)
        shutil.rmtree(self._registry)
        again = self._scenarios("cached", options, n, salt)
        assert not self._registry.exists(), "a cached task ran"
        yield again

    def _scenarios(self, mode: str, options: Mapping[str, Any], n: int, salt: int) -> Row:
        arguments = {"folder": str(self._registry), "salt": salt}
        done = self.server.run(self.ir(pipelines.scenarios(n)), arguments, options)
        assert mode == "cached" or len(list(self._registry.glob("*.pkl"))) == n
        return row(mode, "scenarios", n, 4 * n, done)

    @property
    def _registry(self) -> Path:
        return self.folder / "registry"

    # -- around them ---------------------------------------------------------------------------

    def memory(self, n: int) -> Iterator[Row]:
        """Of the server's own process: idle, and at its highest while `n` tasks run."""
        time.sleep(SETTLE_S)
        idle = pss_bytes(self.server.pid)
        with MemoryWatch(self.server.pid) as watch:
            list(self.fan_out("memory", MODES["forked"], n))
        yield {
            "subject": SUBJECT,
            "mode": "",
            "workload": "memory",
            "n": n,
            "idle_bytes": idle,
            "peak_bytes": watch.peak_bytes,
            "after_bytes": pss_bytes(self.server.pid),
        }

    def latencies(self) -> Iterator[Row]:
        """From the request until the first line of the first task has run."""
        ir = self.ir(pipelines.clock())
        for number in range(-1, self.sizes.latencies):
            at = time.time()
            done = self.server.run(ir, {"salt": next(self._salts)})
            if number >= 0:
                (task,) = done.shown["tasks"]
                recorded_s = epoch_of(task["started_at"]) - at
                yield {
                    **row("first task", "latency", 1, 1, done),
                    "inner_s": done.output - at,
                    "recorded_s": recorded_s,
                }

    def client_runs(self) -> Iterator[Row]:
        """The unmodified client: create, wait; the pipeline is compiled by it each time."""
        pipeline = pipelines.chain(self.sizes.chain)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            client = kfp.Client(host=self.server.url)
            for number in range(-1, self.sizes.client_runs):
                began = time.perf_counter()
                made = client.create_run_from_pipeline_func(
                    pipeline, arguments={"salt": next(self._salts)}
                )
                created_s = time.perf_counter() - began
                ended = made.wait_for_run_completion(timeout=120)
                inner_s = time.perf_counter() - began
                assert ended.state == "SUCCEEDED", ended.state
                if number >= 0:
                    yield {
                        "subject": SUBJECT,
                        "mode": "kfp.Client",
                        "workload": "client",
                        "n": self.sizes.chain,
                        "tasks": self.sizes.chain,
                        "inner_s": inner_s,
                        "created_s": created_s,
                    }


def row(mode: str, workload: str, n: int, tasks: int, done: Finished) -> Row:
    return {
        "subject": SUBJECT,
        "mode": mode,
        "workload": workload,
        "n": n,
        "tasks": tasks,
        "inner_s": done.inner_s,
        "recorded_s": done.recorded_s,
        "states": done.states,
        "processes": done.processes,
    }
