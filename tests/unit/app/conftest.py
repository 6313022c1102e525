"""A control plane that nothing drives but the test: no thread, no port, no data plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.settings import Settings
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.server import ControlPlane, build_control_plane


@pytest.fixture
def plane(tmp_path: Path, clock: ManualClock) -> Iterator[ControlPlane]:
    made = build_control_plane(Settings(workspace=tmp_path / "workspace"), clock)
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture
def put_row(plane: ControlPlane) -> Callable[..., None]:
    """A row, with something in every column that needs a value."""
    kinds = {str: "", int: 0, float: 0.0, bool: True}

    def put(table: Table, **values: Any) -> None:
        needed = {
            column.name: kinds[column.type.python_type]
            for column in table.c
            if not column.nullable and column.name not in values
        }
        with plane.platform.stores.db.transaction() as tx:
            tx.execute(insert(table).values({**needed, **values}))

    return put


@pytest.fixture
def register_late(plane: ControlPlane) -> Callable[..., ModelVersion]:
    """A version of the model `late`, which nobody has trained: to register, release and serve it
    takes no more than its wheel."""

    def register(
        version: str, *, run_id: str = "run-1", pipeline: str = "sha256:" + "a" * 64
    ) -> ModelVersion:
        payload = f"payload {version}".encode()
        described: dict[str, Any] = {
            "task": "binary_classification",
            "format": "skops",
            "payload_digest": digest_of(payload),
            "threshold": 0.5,
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP64", "nullable": False}],
                "outputs": [{"name": "label", "datatype": "INT64"}],
            },
            "requirements": [],
            "requires_python": ">=3.11",
            "trusted_types": [],
            "frame": None,
        }
        lineage = Lineage(run_id, "train", pipeline, (), None, "2026-01-01", None)
        document = make_model_document("late", version, described, lineage)
        wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
        platform = plane.platform
        return register_model_version(platform.stores, wheel, key=platform.key, by="ann")

    return register
