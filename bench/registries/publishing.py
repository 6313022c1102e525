"""How long a pipeline takes to be published, under a version, so that its contract is checked."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.registries.servers import Server, connected, cpu_s
from bench.registries.table import p95, show_head, show_row
from kfp import compiler, dsl
from kfp.registry import RegistryClient

BOUNDARY = "bench-boundary"
REPOSITORY = "/kfp/registry/default/main"


@dsl.component(base_image="python:3.11")
def prepare(rows: int, seed: int, data: dsl.Output[dsl.Dataset]) -> None:
    import random

    draw = random.Random(seed)
    Path(data.path).write_text("\n".join(str(draw.random()) for _ in range(rows)))


@dsl.component(base_image="python:3.11")
def train(data: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]) -> float:
    Path(model.path).write_text("m")
    return 0.5


def compile_wide(folder: Path, tasks: int) -> bytes:
    """One of so many tasks, as a team without loops writes its scenarios."""

    @dsl.pipeline(name=f"wide-{tasks}")
    def wide(rows: int = 10) -> None:
        for seed in range(tasks // 2):
            train(data=prepare(rows=rows, seed=seed).outputs["data"])

    path = folder / f"wide-{tasks}.yaml"
    compiler.Compiler().compile(wide, str(path))
    return path.read_bytes()


def show_publishing(server: Server, folder: Path, *, is_quick: bool) -> None:
    show_head("pipeline", "kB", "by", "median, ms", "p95, ms", "server's CPU, ms", "n")
    for tasks in (2, 50) if is_quick else (2, 50, 150, 500):
        data = compile_wide(folder, tasks)
        number = iter(range(10_000))
        for title, publish in (
            ("HTTP", _by_http(server)),
            ("RegistryClient", _by_client(server, folder)),
        ):
            found = []
            publish(data, "0.0.1" if title == "HTTP" else "latest")
            used = cpu_s(server.pid)
            for _ in range(8 if is_quick else 30):
                minor = next(number)
                ir = data + f"# {minor}\n".encode()
                began = time.perf_counter()
                publish(ir, f"1.{minor}.0")
                found.append(time.perf_counter() - began)
            cpu = f"{(cpu_s(server.pid) - used) / len(found) * 1e3:.0f}"
            middle = f"{statistics.median(found) * 1e3:.0f}", f"{p95(found) * 1e3:.0f}"
            show_row(f"{tasks} tasks", len(data) // 1000, title, *middle, cpu, len(found))


def _by_http(server: Server) -> Callable[[bytes, str], object]:
    """One upload and its answer, over a connection of its own."""

    def publish(ir: bytes, tag: str) -> None:
        line = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
        head = line.format(BOUNDARY, "tags", "") + f"{tag}\r\n"
        head += line.format(BOUNDARY, "content", '; filename="pipeline.yaml"')
        body = head.encode() + ir + f"\r\n--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        with connected(server) as connection:
            connection.request("POST", REPOSITORY, body, headers)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{REPOSITORY} answered {answer.status}: {said[:300]!r}")

    return publish


def _by_client(server: Server, folder: Path) -> Callable[[bytes, str], object]:
    """The SDK's own client; writing the file that it reads is part of it."""
    client = RegistryClient(host=f"{server.url}{REPOSITORY}")
    path = folder / "upload.yaml"

    def publish(ir: bytes, tag: str) -> None:
        path.write_bytes(ir)
        client.upload_pipeline(str(path), tags=[tag])

    return publish
