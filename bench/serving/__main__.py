"""python -m bench.serving [--models lr,rf] [--clients 1,8,32,128] [--turns 3] [--seconds 2]
    [--workers 1,2]

Servers take turns, each started anew; a ratio is to the floor of the same turn. `--only` chooses
servers by a part of their names. `--python` is an interpreter that has the models' libraries and
the floors' (LIBRARIES); without it, a virtual environment is made in `--cache`. `--peers` adds
other Python servers, each in a virtual environment of its own there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.serving.load import Load, generator, run_load
from bench.serving.peers import PEERS, peers
from bench.serving.servers import (
    JSON,
    Server,
    cpu_s,
    floor,
    memory_mb,
    ours,
    request_body,
    running,
)
from bench.serving.workshop import Model, default_cache, deploy, interpreter, train

from seamline.serve.log.tables import log_folder, read_segments
from seamline.serve.snapshots.snapshot import TwinPolicy

PAIRS = {"seamline, twin": "floor: twin", "seamline, Python": "floor: pipe"}


@dataclass(frozen=True)
class Result:
    load: Load
    cpu_us: float


@dataclass(frozen=True)
class Turn:
    start_s: float
    memory_mb: float
    by_clients: dict[int, Result]
    #: Requests that were answered, and rows of the log; None of whoever keeps none.
    logged: tuple[int, int] | None


def main() -> None:
    given = _arguments()
    cache = Path(given.cache).resolve()
    python = Path(given.python).absolute() if given.python else interpreter(cache)
    models = train(cache / "models", python)
    clients = [int(text) for text in given.clients.split(",")]
    print(
        f"Load: {generator()}; {given.turns} turns of {given.seconds:g} s; {os.cpu_count()} cores, "
        f"{os.getloadavg()[0]:.1f} processes waited for them when it began.\n"
    )
    for name in given.models.split(","):
        turns: dict[str, list[Turn]] = defaultdict(list)
        for number in range(given.turns):
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                servers = _servers(Path(folder), models[name], python)
                servers += _of_several(Path(folder), models[name], python, given.workers)
                if given.peers:
                    servers += _peers(cache, Path(folder), models[name])
                # Both orders, so that all see the same machine.
                for server in servers[:: 1 if number % 2 == 0 else -1]:
                    if any(part in server.name for part in given.only.split("|")):
                        turns[server.name].append(_turn(server, clients, given, Path(folder)))
                        print(f"{name} {number} {server.name}", file=sys.stderr)
        _report(name, turns, clients)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--models", default="lr,rf")
    parser.add_argument("--clients", default="1,8,32,128")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="whole ones")
    parser.add_argument("--peers", action="store_true", help="other Python servers, too")
    parser.add_argument("--only", default="", help="parts of names, joined by |")
    parser.add_argument("--workers", default="1", help="processes of ours on the port, as 1,2")
    parser.add_argument("--python", default="")
    parser.add_argument("--cache", default=str(default_cache()))
    return parser.parse_args()


def _servers(folder: Path, model: Model, python: Path) -> list[Server]:
    row = json.loads((model.folder.parent / "row.json").read_text())
    body = request_body(row)
    for place, policy in (("twin", TwinPolicy.REQUIRE), ("python", TwinPolicy.NEVER)):
        deploy(folder / place, model, python, policy)
    return [
        ours("seamline, twin", folder / "twin", body),
        floor("twin", python, model.folder, body),
        ours("seamline, Python", folder / "python", body),
        floor("pipe", python, model.folder, body),
    ]


def _of_several(folder: Path, model: Model, python: Path, workers: str) -> list[Server]:
    """Ours once more with several processes on the port."""
    body = request_body(json.loads((model.folder.parent / "row.json").read_text()))
    found = []
    for count in (int(text) for text in workers.split(",")):
        for what, policy in (("twin", TwinPolicy.REQUIRE), ("Python", TwinPolicy.NEVER)):
            if count > 1:
                place = folder / f"{what}-{count}"
                deploy(place, model, python, policy)
                found.append(ours(f"seamline, {what}, {count} processes", place, body, count))
    return found


def _peers(cache: Path, folder: Path, model: Model) -> list[Server]:
    row = json.loads((model.folder.parent / "row.json").read_text())
    return peers(cache, folder / "peers", model.folder / "model.joblib", row)


def _turn(server: Server, clients: list[int], given: argparse.Namespace, folder: Path) -> Turn:
    found, answered = {}, 0
    with running(server, folder / "log") as it:
        answered += 1  # the one by which it is seen to answer
        answered += run_load(it.url, server.body, JSON, 8, 0.5).requests
        for count in clients:
            before = cpu_s(it.pid)
            load = run_load(it.url, server.body, JSON, count, given.seconds)
            if load.failed:
                raise RuntimeError(f"{server.name}: {load.failed} of {load.requests} failed")
            answered += load.requests
            found[count] = Result(load, 1e6 * (cpu_s(it.pid) - before) / load.requests)
        memory, start_s = memory_mb(it.pid), it.start_s
    return Turn(start_s, memory, found, _logged(server, answered))


def _logged(server: Server, answered: int) -> tuple[int, int] | None:
    """A load generator leaves when its time is over: of each of its connections one answer more
    may be in the log than it has counted."""
    if not server.name.startswith("seamline"):
        return None
    root = Path(server.command[server.command.index("--root") + 1])
    return answered, len(read_segments(log_folder(root, "predictions", "production")))


def _report(name: str, turns: dict[str, list[Turn]], clients: list[int]) -> None:
    print(f"**{name}**: requests per second, (p99, ms), [processor time per request, µs]\n")
    heads = "".join(f" c={count} |" for count in clients)
    print(f"| server | start, s | PSS, MB |{heads}\n|---|---|---|{'---|' * len(clients)}")
    for server, ran in turns.items():
        cells = []
        for count in clients:
            results = [turn.by_clients[count] for turn in ran]
            rate = statistics.median(one.load.per_second for one in results)
            p99 = statistics.median(one.load.p99_ms for one in results)
            cpu = statistics.median(one.cpu_us for one in results)
            cells.append(f"{rate:,.0f} ({p99:.1f}) [{cpu:.0f}]{_to_floor(server, turns, count)}")
        start = statistics.median(turn.start_s for turn in ran)
        memory = statistics.median(turn.memory_mb for turn in ran)
        print(f"| {server} | {start:.2f} | {memory:.0f} | {' | '.join(cells)} |")
    _against_peers(turns, clients)
    for server, ran in turns.items():
        for answered, rows in (turn.logged for turn in ran if turn.logged):
            print(f"\n{server}: {answered:,} answers counted, {rows:,} rows logged")
    print()


def _against_peers(turns: dict[str, list[Turn]], clients: list[int]) -> None:
    """Ours over the best peer at each number of clients."""
    theirs = {name: ran for name, ran in turns.items() if name in {one.name for one in PEERS}}
    if not theirs:
        return

    def rate(ran: list[Turn], count: int) -> float:
        return statistics.median(turn.by_clients[count].load.per_second for turn in ran)

    heads = "".join(f" c={count} |" for count in clients)
    print(f"\n| against the best peer |{heads}\n|---|{'---|' * len(clients)}")
    for server in (name for name in PAIRS if name in turns):
        cells = []
        for count in clients:
            best = max(theirs, key=lambda name: rate(theirs[name], count))
            ratio = rate(turns[server], count) / rate(theirs[best], count)
            cells.append(f"{ratio:.1f} × {best}")
        print(f"| {server} | {' | '.join(cells)} |")


def _to_floor(server: str, turns: dict[str, list[Turn]], count: int) -> str:
    beside = turns.get(PAIRS.get(server, ""), [])
    if not beside:
        return ""
    ratios = [
        mine.by_clients[count].load.per_second / its.by_clients[count].load.per_second
        for mine, its in zip(turns[server], beside, strict=False)
    ]
    return f" **{statistics.median(ratios):.2f} ×**"


if __name__ == "__main__":
    if shutil.which("wrk") is None:
        print("wrk is not installed: the load comes from Python, which is slower.", file=sys.stderr)
    main()
