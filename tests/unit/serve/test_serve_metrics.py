"""What a real data plane says of itself is what the docs say of it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from seamline.serve.metrics import METRICS
from seamline.serve.snapshots.input_rules import InputRule
from seamline.serve.snapshots.snapshot import snapshot_path

SAMPLE = re.compile(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
#: Of these there is nothing to say here: no gate, no lost row, no traces, one process, no tokens,
#: no twin that is refused, nothing that ends unasked, no other control plane.
SILENT = {
    "seamline_probe_requests_total", "seamline_log_lost_rows_total", "seamline_trace_spans_total",
    "seamline_access_list_version", "seamline_access_list_failures_total", "seamline_planes",
    "seamline_plane_requests_total", "seamline_plane_restarts_total",
    "seamline_twin_refusals_total", "seamline_worker_restarts_total",
    "seamline_standby_failures_total", "seamline_origin_contact_timestamp_seconds",
    "seamline_origin_refused", "seamline_packages_awaited", "seamline_log_segments",
    "seamline_model_evictions_total",
}  # fmt: skip
many = runpy.run_path(str(Path(__file__).with_name("models") / "test_serve_many_models.py"))


def test_each_series_has_the_labels_that_the_docs_give_it(workspace, start_plane, until):
    rule = InputRule("hour", 0.0, 23.0, refuse=False)
    members = [many["make_member"](workspace, route, 1.0) for route in ("R1", "R2")]
    family = many["endpoint_of"](workspace, *members)
    workspace.deploy(1, workspace.endpoint(rules=(rule,)), family, standby=(workspace.endpoint(2),))
    snapshot_path(workspace.root, "staging").write_bytes(b"{}")
    plane = start_plane()
    plane.await_snapshot(1)
    assert plane.ask("POST", "/v2/models/late-arrival/predict", {"hour": 99})[0] == 200
    assert plane.ask("POST", "/v2/models/air-time/predict", {"route": "R2", "hour": 1})[0] == 200

    def told() -> dict[str, set[tuple[str, ...]]]:
        found: dict[str, set[tuple[str, ...]]] = {}
        for name, labels in SAMPLE.findall(plane.ask("GET", "/metrics")[1]["text"]):
            keys = tuple(one for one in LABEL.findall(labels) if one != "le")
            found.setdefault(name, set()).add(keys)
        return found

    until(lambda: METRICS.keys() - told() <= SILENT)
    assert told() == {name: {METRICS[name].labels} for name in told()}
    page = Path(__file__).parents[3] / "docs" / "reference" / "metrics-of-the-data-plane.md"
    assert all(f"| `{name}` | {one.kind} |" in page.read_text() for name, one in METRICS.items())
