"""The ONNX twin asked for many rows at a time: no worker, no pipe, no unpickling.

Which of the two answers is the endpoint's own rule; verified and proved as there.
"""

from __future__ import annotations

import logging

from seamline.domain.errors import MachineryError
from seamline.serve.datatypes import Columns
from seamline.serve.models.bulk_worker import BulkWorker
from seamline.serve.models.twins import NoTwin, TwinGraph, TwinRefused, load_twin
from seamline.serve.snapshots.snapshot import EndpointSpec, TwinPolicy

LOG = logging.getLogger(__name__)


class BulkTwin:
    """To be used as a `BulkWorker` is."""

    is_twin = True

    def __init__(self, spec: EndpointSpec, graph: TwinGraph) -> None:
        self._spec, self._graph = spec, graph

    def __enter__(self) -> BulkTwin:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing outlives it."""

    def predict(self, columns: Columns, rows: int) -> Columns:
        try:
            return self._graph.outputs(columns, rows)
        except Exception as error:  # whatever a foreign graph makes of these rows
            spec = self._spec
            raise MachineryError(
                f"The ONNX twin of {spec.model} {spec.model_version} failed: "
                f"{type(error).__name__}: {error}"
            ) from error


def open_model(spec: EndpointSpec) -> BulkTwin | BulkWorker:
    """What answers at the endpoint. Raises DigestMismatch, or MachineryError where it has to be a
    twin and there is none that may answer."""
    if spec.family is not None or spec.twin is TwinPolicy.NEVER:
        return BulkWorker(spec)
    try:
        graph, _ = load_twin(spec)
    except NoTwin as error:
        if spec.twin is TwinPolicy.REQUIRE:
            raise MachineryError(
                f"Endpoint {spec.endpoint} is to be answered by the ONNX twin of {spec.model} "
                f"{spec.model_version}, and is not: {error}"
            ) from error
        if isinstance(error, TwinRefused):
            LOG.error("Endpoint %s: the ONNX twin is not used: %s", spec.endpoint, error)
        return BulkWorker(spec)
    return BulkTwin(spec, graph)
