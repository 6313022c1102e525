from __future__ import annotations

from typing import Any

from seamline.console.lineage import draw_lineage

DIGEST = "sha256:" + "a" * 64
RELEASE = "sha256:" + "b" * 64


def _model(commit: str | None) -> dict[str, Any]:
    lineage = {
        "run_id": "01a1fc98-31ae-7b1c-9645-6dd8697a45ca",
        "pipeline": "late-arrival-training",
        "pipeline_digest": DIGEST,
        "commit": commit,
        "dataset_versions": [{"name": "flights", "version": 7, "digest": DIGEST}],
    }
    document = {"lineage": lineage}
    return {"model": "late", "version": "1.0.0", "wheel_digest": DIGEST, "document": document}


def test_back_to_data_and_commit_and_forward_to_where_it_is_live() -> None:
    releases = [{"alias": "r1", "digest": RELEASE}]
    live = {"staging": RELEASE, "production": DIGEST}
    drawn = draw_lineage(_model("4f1c9a70be22"), {"requested_by": "ada"}, releases, live)
    assert [(edge["from"], edge["to"]) for edge in drawn["edges"]] == [
        ("run", "model"),
        ("pipeline", "run"),
        ("commit", "pipeline"),
        ("dataset flights@7", "run"),
        ("model", f"release {RELEASE}"),
        (f"release {RELEASE}", "environment staging"),
    ]
    assert {node["kind"] for node in drawn["nodes"]} == {
        *("run", "model", "pipeline", "commit", "dataset", "release", "environment")
    }


def test_a_package_from_elsewhere_has_no_run_to_link_to() -> None:
    drawn = draw_lineage(_model(None), None, [], {})
    run = next(node for node in drawn["nodes"] if node["name"] == "run")
    assert (run["href"], run["detail"]) == ("", "of another workspace")
    assert "commit" not in {node["kind"] for node in drawn["nodes"]}
