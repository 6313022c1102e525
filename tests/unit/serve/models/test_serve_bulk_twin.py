"""Many rows at a time are answered by what answers at the endpoint: the twin, or the model."""

from __future__ import annotations

import numpy as np
import pytest

from seamline.domain.errors import DigestMismatch, MachineryError
from seamline.serve.models.bulk_twin import open_model
from seamline.serve.snapshots.snapshot import TwinPolicy


def columns(*hours):
    """Text and nulls as a table has them."""
    return {
        "hour": np.array(hours),
        "carrier": ["UA", None, "B6"][: len(hours)],
        "temp": np.array([np.nan, 1.5, 2.5][: len(hours)]),
    }


def answered(spec):
    with open_model(spec) as model:
        return model.is_twin, model.predict(columns(6, 12, 18), 3)


@pytest.mark.parametrize(
    ("policy", "by_twin"),
    [(TwinPolicy.PREFER, True), (TwinPolicy.REQUIRE, True), (TwinPolicy.NEVER, False)],
)
def test_the_policy_of_the_endpoint_says_who_answers(workspace, graph_of, policy, by_twin):
    is_twin, outputs = answered(workspace.endpoint(graph=graph_of(1.0), twin=policy))
    assert is_twin is by_twin
    assert outputs["label"].tolist() == [0, 1, 1]
    assert outputs["score"] == pytest.approx([0.25, 0.5, 0.75], abs=1e-6)


def test_one_that_says_otherwise_than_the_model_does_not_answer(workspace, graph_of):
    spec = workspace.endpoint(graph=graph_of(1.0, offset=0.1))
    assert answered(spec)[0] is False
    with pytest.raises(MachineryError, match=r"late-arrival 1\.0\.1, and is not: .*sample row 0"):
        answered(workspace.endpoint(graph=graph_of(1.0, offset=0.1), twin=TwinPolicy.REQUIRE))


def test_where_there_is_none_the_model_answers_unless_it_has_to_be_one(workspace):
    assert answered(workspace.endpoint())[0] is False
    with pytest.raises(MachineryError, match="nobody made one"):
        answered(workspace.endpoint(twin=TwinPolicy.REQUIRE))


def test_altered_bytes_answer_nothing_whatever_the_policy(workspace, graph_of):
    spec = workspace.endpoint(graph=graph_of(1.0))
    path = workspace.blobs.path_of(spec.package_digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DigestMismatch):
        answered(spec)


def test_rows_that_the_graph_cannot_answer_end_all_of_it(workspace, graph_of):
    with (
        open_model(workspace.endpoint(graph=graph_of(1.0))) as model,
        pytest.raises(MachineryError, match=r"twin of late-arrival 1\.0\.1 failed"),
    ):
        model.predict(columns(99), 1)
