"""What a model version came from and where it went, as boxes and edges. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote


def draw_lineage(
    model: Mapping[str, Any],
    run: Mapping[str, Any] | None,
    releases: Sequence[Mapping[str, Any]],
    live: Mapping[str, str],
) -> dict[str, Any]:
    """`live`: environment → digest of its release. Nodes have kind, title, detail, digest, href."""
    lineage = model["document"]["lineage"]
    nodes = [
        _node("model", f"{model['model']} {model['version']}", "package", model["wheel_digest"]),
        _node(
            "run",
            f"run {lineage['run_id'][:8]}",
            f"by {run['requested_by']}" if run else "of another workspace",
            href=f"/runs/{quote(lineage['run_id'])}" if run else "",
        ),
        _node("pipeline", lineage["pipeline"], "pipeline", lineage["pipeline_digest"]),
    ]
    edges = [("run", "model"), ("pipeline", "run")]
    if lineage["commit"]:
        nodes.append(_node("commit", lineage["commit"][:12], "commit"))
        edges.append(("commit", "pipeline"))
    for one in lineage["dataset_versions"]:
        name = f"dataset {one['name']}@{one['version']}"
        title = f"{one['name']}@{one['version']}"
        nodes.append(_node(name, title, "dataset", one["digest"]))
        edges.append((name, "run"))
    for release in releases:
        name = f"release {release['digest']}"
        where = f"/releases/{quote(release['alias'])}"
        nodes.append(_node(name, release["alias"], "release", release["digest"], where))
        edges.append(("model", name))
        for environment, digest in live.items():
            if digest == release["digest"]:
                place = f"environment {environment}"
                nodes.append(
                    _node(place, environment, "live", href=f"/environments/{quote(environment)}")
                )
                edges.append((name, place))
    return {"nodes": nodes, "edges": [{"from": one, "to": other} for one, other in edges]}


def _node(name: str, title: str, detail: str, digest: str = "", href: str = "") -> dict[str, str]:
    return {
        "name": name,
        "kind": name.partition(" ")[0],
        "title": title,
        "detail": detail,
        "digest": digest,
        "href": href,
    }
