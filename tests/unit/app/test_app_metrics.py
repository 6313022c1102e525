"""`/metrics`: well-formed, as Prometheus' text format wants it, and about the right things."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path

import httpx
import pytest

from seamline.app.figures import Figure, Histogram, Kind
from seamline.domain.states import RunState, TaskState
from seamline.project.plan import apply_project
from seamline.protocols.prometheus import render
from seamline.server import ControlPlane
from seamline.train.engine.counts import EngineCounts, TeamCounts

SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)')
Samples = dict[tuple[str, str], float]


def scrape(plane: ControlPlane) -> str:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/metrics")

    answer = asyncio.run(one())
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def parse(text: str) -> tuple[Samples, dict[str, str]]:
    """(samples, types); every line is understood, and no series comes twice."""
    samples: Samples = {}
    types: dict[str, str] = {}
    helped = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in helped, "a family comes once"
            helped.add(name)
        elif line.startswith("# TYPE "):
            types[line.split()[2]] = line.split()[3]
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            family = re.sub(r"_(bucket|sum|count)$", "", found[1])
            assert found[1] in types or types.get(family) == "histogram", line
            key = (found[1], found[2] or "")
            assert key not in samples, line
            samples[key] = float(found[3])
    assert helped == set(types)
    return samples, types


def test_every_figure_has_its_samples_and_a_name_that_fits(plane: ControlPlane) -> None:
    samples, types = parse(scrape(plane))
    for name, kind in types.items():
        assert kind in ("gauge", "counter", "histogram")
        assert (kind == "counter") == name.endswith("_total"), name
        assert name.startswith(("seamline_", "process_"))
    assert samples["seamline_runs", 'state="running"'] == 0
    assert {f'state="{state}"' for state in RunState} == {
        labels for name, labels in samples if name == "seamline_runs"
    }
    assert samples["seamline_tasks", f'state="{TaskState.PENDING}"'] == 0
    assert samples["seamline_facts", ""] > 0
    assert samples["process_resident_memory_bytes", ""] > 1 << 20
    assert samples["process_cpu_seconds_total", ""] > 0
    assert samples["seamline_zygotes", ""] >= 0
    assert samples["seamline_workspace_used_bytes", 'part="database"'] > 0
    free, size = (samples[f"seamline_workspace_{word}_bytes", ""] for word in ("free", "size"))
    assert 0 < free <= size


def test_every_figure_is_in_the_docs(plane: ControlPlane) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert told == parse(scrape(plane))[1]


def test_the_queue_is_what_the_engine_says(plane: ControlPlane) -> None:
    text = 'project = "p"\nteam = "p"\n[teams.large]\nslots = 2\n'
    apply_project(plane.platform.stores, text, "f", by="ada")
    plane.platform.team_slots.reload()
    counts = EngineCounts(
        ready=7,
        running=3,
        waiting_runs=1,
        by_team={"large": TeamCounts(5, 2), 'odd"\n': TeamCounts(2, 1)},
    )
    platform = dataclasses.replace(plane.platform, counts=lambda: counts)
    samples, _ = parse(render(type(plane.app.state.figures)(platform).read()))
    assert samples["seamline_tasks_ready", ""] == 7
    assert samples["seamline_tasks_running", ""] == 3
    assert samples["seamline_runs_waiting", ""] == 1
    assert samples["seamline_team_tasks_ready", 'team="large"'] == 5
    assert samples["seamline_team_tasks_running", 'team="odd\\"\\n"'] == 1
    assert samples["seamline_team_slots", 'team="large"'] == 2
    assert ("seamline_team_slots", 'team="odd\\"\\n"') not in samples


def test_a_histogram_is_cumulative() -> None:
    figure = Histogram("seconds", "Some.", (0.5, 10.0), {(("state", "failed"),): ([2, 0, 3], 4.5)})
    samples, types = parse(render([figure]))
    assert types == {"seconds": "histogram"}
    assert samples == {
        ("seconds_bucket", 'state="failed",le="0.5"'): 2,
        ("seconds_bucket", 'state="failed",le="10"'): 2,
        ("seconds_bucket", 'state="failed",le="+Inf"'): 5,
        ("seconds_sum", 'state="failed"'): 4.5,
        ("seconds_count", 'state="failed"'): 5,
    }


@pytest.mark.parametrize(
    ("value", "shown"), [(3, "3"), (3.0, "3"), (1e-7, "1e-07"), (2**60, "1152921504606846976")]
)
def test_numbers_keep_their_value(value: float, shown: str) -> None:
    text = render([Figure("n", "Some.", {(): value}, Kind.GAUGE)])
    assert text.splitlines()[-1].startswith(f"n {shown}")
    assert float(text.split()[-1]) == value
