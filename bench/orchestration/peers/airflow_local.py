"""Airflow with SQLite. Modes: `scheduler` (api-server, dag-processor and scheduler, whose
LocalExecutor runs each task in a process), `dags_test` (one process, no scheduler).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import work

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
LOOK_S = 0.1
HEAD = """
import pickle
import sys
from pathlib import Path

sys.path.insert(0, {here!r})
import pendulum
import work
from airflow.sdk import dag, task

FOLDER = Path({folder!r})


def keep(name, value):
    (FOLDER / name).write_bytes(pickle.dumps(value))
    return str(FOLDER / name)


def load(path):
    return pickle.loads(Path(path).read_bytes())


@task
def noop(x):
    return work.noop(x)


@task
def last(x):
    (FOLDER / "result.txt").write_text(str(work.noop(x)))


@task
def ident(item):
    return work.ident(item)


@task
def collect(items):
    (FOLDER / "result.txt").write_text(str(work.total(list(items))))


@task
def prepare(scenario):
    return keep(f"data-{{scenario}}.pkl", work.prepare(scenario))


@task
def train(scenario, data):
    return keep(f"model-{{scenario}}.pkl", work.train(load(data)))


@task
def evaluate(model, data):
    return work.evaluate(load(model), load(data))


@task
def register(scenario, model, accuracy):
    return work.register({registry!r}, scenario, load(model), accuracy)


@dag(schedule=None, start_date=pendulum.datetime(2024, 1, 1), catchup=False, dag_id="bench")
def bench():
{body}

bench()
"""
BODIES = {
    "chain": "    x = 0\n    for _ in range({n} - 1):\n        x = noop(x)\n    last(x)\n",
    "fan_out": "    collect(ident.expand(item=list(range({n}))))\n",
    "scenarios": """
    for scenario in range({n}):
        data = prepare(scenario)
        model = train(scenario, data)
        register(scenario, model, evaluate(model, data))
""",
}


def environ_of(home: Path, workers: int, port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    settings = {
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(workers),
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "CORE__MAX_MAP_LENGTH": "100000",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(48),
        "LOGGING__LOGGING_LEVEL": "WARNING",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    }
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def airflow(environ: Mapping[str, str], *words: str) -> float:
    began = time.perf_counter()
    done = subprocess.run([AIRFLOW, *words], env=environ, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    return time.perf_counter() - began


def rows(home: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(home / "airflow.db", timeout=30)) as database:
        return database.execute(query).fetchall()


@contextmanager
def daemons(home: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """Each in a process group of its own, which is ended as a whole."""
    started = []
    try:
        for words in (["api-server"], ["dag-processor"], ["scheduler", "--skip-serve-logs"]):
            with (home / f"{words[0]}.log").open("w") as log:
                started.append(
                    subprocess.Popen(
                        [AIRFLOW, *words],
                        env=environ,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        yield
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL):
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, end)
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(8)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def schedule(home: Path, environ: Mapping[str, str], port: int) -> tuple[float, float]:
    """Seconds until it was ready, and from the trigger until the run had succeeded."""
    began = time.perf_counter()
    with daemons(home, environ):
        while not answers(f"http://127.0.0.1:{port}/api/v2/monitor/health"):
            time.sleep(LOOK_S)
        while not rows(home, "select 1 from serialized_dag where dag_id = 'bench'"):
            time.sleep(LOOK_S)
        start_s = time.perf_counter() - began
        airflow(environ, "dags", "trigger", "bench")
        # The command's own second is not the scheduler's.
        began = time.perf_counter()
        state = "queued"
        while state not in ("success", "failed"):
            time.sleep(LOOK_S)
            state = str(rows(home, "select state from dag_run")[0][0])
        assert state == "success", state
        return start_s, time.perf_counter() - began


def main() -> None:
    job = work.read_job()
    home, result = job.folder / "home", job.folder / "result.txt"
    (home / "dags").mkdir(parents=True)
    source = HEAD.format(
        here=str(Path(work.__file__).parent),
        folder=str(job.folder),
        registry=job.registry,
        body=BODIES[job.workload].replace("{n}", str(job.n)),
    )
    (home / "dags" / "bench.py").write_text(source)
    port = free_port()
    environ = environ_of(home, job.workers, port)
    start_s = airflow(environ, "db", "migrate")
    if job.mode == "dags_test":
        airflow(environ, "dags", "reserialize")
        seconds = airflow(environ, "dags", "test", "bench")
    else:
        up_s, seconds = schedule(home, environ, port)
        start_s += up_s
    found = int(result.read_text()) if result.exists() else None
    work.report(job, seconds, found, start_s=start_s)


if __name__ == "__main__":
    main()
