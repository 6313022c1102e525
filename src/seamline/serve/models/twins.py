"""The ONNX twin of a model, run in the plane's own process: no worker, no pipe, no unpickling.

A twin was compared with its model when that was packaged, and lies in the same wheel. Here it is
read from the very bytes that were hashed (law 2), its own digest is checked once more, and it has
to say of the package's sample rows what the model said. One that does not is not used: the worker
answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seamline.domain.errors import DigestMismatch, SeamlineError, Unavailable
from seamline.runtime.imports import silence_onnx_runtime
from seamline.serve.datatypes import TEXT, Columns, Values, to_list
from seamline.serve.engine import ModelFailed
from seamline.serve.flat_rows import FlatRows, Given, columns_of
from seamline.serve.snapshots.snapshot import EndpointSpec

#: A batch that takes longer leaves the loop: health and other models go on being answered.
LOOP_S = 0.001
#: Weight of a higher measurement in what a row is thought to take. A lower one counts at once: a
#: call that other work on the machine held up is not a dear one, and no thread would help it.
HIGHER = 0.1
#: |Δ| of a score, where the package does not say what it was compared by.
TOLERANCE = 1e-3
#: ONNX Runtime's element type → NumPy's. A text is an object.
ELEMENTS: Mapping[str, Any] = {
    "tensor(float)": np.dtype("<f4"),
    "tensor(double)": np.dtype("<f8"),
    "tensor(int64)": np.dtype("<i8"),
    "tensor(bool)": np.dtype("?"),
    "tensor(string)": np.dtype(object),
}


class NoTwin(SeamlineError):
    """The package has none; the message says why."""


class TwinRefused(NoTwin):
    """There is one, and it must not answer; the message says why."""


@dataclass(frozen=True)
class TwinFiles:
    """What the wheel holds of a twin. `threshold` is None for a regression."""

    graph: bytes
    threshold: float | None
    tolerance: float
    samples: Mapping[str, Any]


class TwinEngine:
    """Cheap batches are answered in the loop, dear ones in a thread of the model's own."""

    def __init__(self, spec: EndpointSpec, graph: TwinGraph, samples: Mapping[str, Any]) -> None:
        self.spec = spec
        self.problem = ""
        rows: list[dict[str, Any]] = samples.get("rows", [])
        self.probe = rows[0] if rows else None
        #: None while it rests, and once it is closed.
        self._graph: TwinGraph | None = graph
        self._row_s = 0.0
        self._thread: ThreadPoolExecutor | None = None
        self._is_closed = False
        self._changing = asyncio.Lock()

    @classmethod
    async def start(cls, spec: EndpointSpec) -> TwinEngine:
        """Verified, loaded and proved. NoTwin, TwinRefused, or DigestMismatch."""
        graph, samples = await asyncio.to_thread(load_twin, spec)
        return cls(spec, graph, samples)

    @property
    def is_alive(self) -> bool:
        return self._graph is not None

    @property
    def is_resting(self) -> bool:
        return self._graph is None and not self._is_closed

    @property
    def can_answer(self) -> bool:
        return not self._is_closed

    async def predict(self, given: Given, rows: int) -> Columns:
        if self._graph is None:
            await self.wake()
        if rows * self._row_s <= LOOP_S:
            return self.predict_now(given, rows)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, f"twin-{self.spec.endpoint}")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.predict_now, given, rows)

    async def come_back(self) -> None:
        """It lives and dies with the plane."""

    async def wake(self) -> None:
        async with self._changing:
            if self._is_closed:
                raise Unavailable(self.problem)
            if self._graph is not None:
                return
            try:
                self._graph, _ = await asyncio.to_thread(load_twin, self.spec)
            except SeamlineError as error:
                self.problem = str(error)
                raise Unavailable(f"Endpoint {self.spec.endpoint}: {error}") from error
            self.problem = ""

    async def rest(self) -> None:
        async with self._changing:
            self._graph = None
            self.problem = f"{self._name} was unloaded; it is loaded when it is asked."

    async def close(self) -> None:
        self._is_closed = True
        self._graph = None
        self.problem = f"{self._name} is no longer served."
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    @property
    def _name(self) -> str:
        return f"{self.spec.model} {self.spec.model_version} (endpoint {self.spec.endpoint})"

    def predict_now(self, given: Given, rows: int) -> Columns:
        """Runs in whatever thread asks. Raises ModelFailed."""
        graph, started_s = self._graph, time.perf_counter()
        if graph is None:
            raise Unavailable(self.problem)
        try:
            outputs = graph.outputs(given, rows)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise ModelFailed(
                f"The ONNX twin of {self._name} failed on these rows: {why}"
            ) from error
        row_s = (time.perf_counter() - started_s) / rows
        self._row_s = min(row_s, self._row_s + HIGHER * (row_s - self._row_s))
        return outputs


class TwinGraph:
    """A graph that takes one matrix, or each column by its name; as the loader inside the wheel
    runs it (`register/models/loading`), to the same answers."""

    def __init__(self, files: TwinFiles, spec: EndpointSpec) -> None:
        self._session = _session(files.graph)
        self._run = self._session.run
        self._threshold = files.threshold
        self._columns = [column.name for column in spec.signature.inputs]
        self._texts = {c.name for c in spec.signature.inputs if c.datatype == TEXT}
        inputs = self._session.get_inputs()
        unknown = [one.type for one in inputs if one.type not in ELEMENTS]
        if unknown:
            raise ValueError(f"the graph takes {', '.join(unknown)}, which no column is")
        self._matrix = inputs[0].name if len(inputs) == 1 and _width(inputs[0]) != 1 else None
        #: (input of the graph, column, element type) in the graph's order, which is the columns'.
        taken = self._columns[: 1 if self._matrix else None]
        if len(inputs) != len(taken):
            raise ValueError(f"the graph takes {len(inputs)} inputs for {len(taken)} columns")
        self._inputs = [
            (one.name, name, ELEMENTS[one.type]) for one, name in zip(inputs, taken, strict=True)
        ]
        outputs = self._session.get_outputs()
        scores = [one for one in outputs if _is_score(one)]
        if bool(scores) != (files.threshold is not None):
            raise ValueError("the graph is of another task than the model")
        self._output = [(scores or outputs)[0].name]

    def outputs(self, given: Given, rows: int) -> Columns:
        """{label, score} of a classifier, {prediction} of a regression."""
        feed = self._feed_matrix(given) if self._matrix else self._feed_columns(columns_of(given))
        found = self._run(self._output, feed)[0]
        if isinstance(found, list):  # skl2onnx's ZipMap: a dict a row
            found = np.array([[row[label] for label in sorted(row)] for row in found])
        if len(found) != rows:
            raise ValueError(f"it answered {len(found)} rows for {rows}")
        if self._threshold is None:
            return {"prediction": found.astype(np.float64).reshape(-1)}
        score = found[:, 1].astype(np.float64)
        return {"label": (score >= self._threshold).astype(np.int64), "score": score}

    def _feed_matrix(self, given: Given) -> dict[str, Any]:
        name, _, element = self._inputs[0]
        if type(given) is FlatRows and None not in given.cells:
            return {name: np.array(given.cells, element).reshape(-1, len(self._columns))}
        columns = columns_of(given)
        told = [columns[column] for column in self._columns]
        if all(type(values) is list and None not in values for values in told):
            # One conversion of many short lists is cheaper than many of one.
            return {name: np.array(told, element).T.copy()}
        matrix = np.empty((len(told[0]), len(told)), element)
        for place, values in enumerate(told):
            matrix[:, place] = _numbers(values)
        return {name: matrix}

    def _feed_columns(self, columns: Columns) -> dict[str, Any]:
        feed = {}
        for name, column, element in self._inputs:
            values = columns[column]
            if column in self._texts:
                # A graph knows no missing text: the empty one stands for it.
                array = np.array(["" if one is None else one for one in to_list(values)], object)
            else:
                array = _numbers(values).astype(element, copy=False)
            feed[name] = array.reshape(-1, 1)
        return feed


def read_twin(spec: EndpointSpec) -> TwinFiles:
    """From the wheel, once its bytes are the approved ones. NoTwin, or DigestMismatch."""
    data = Path(spec.wheel_path).read_bytes()
    actual = "sha256:" + hashlib.sha256(data).hexdigest()
    if actual != spec.package_digest:
        what = f"Wheel {spec.wheel_name} of endpoint {spec.endpoint}"
        raise DigestMismatch(what, expected=spec.package_digest, actual=actual)
    folder = spec.module.replace(".", "/")
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        names = set(wheel.namelist())
        document = _json(wheel, f"{folder}/model.json", names)
        twin = document.get("twin") or {}
        if not twin.get("digest"):
            raise NoTwin(str(twin.get("reason") or "it was packaged without one"))
        is_itself = twin["digest"] == document.get("payload_digest")
        path = f"{folder}/payload/{'model' if is_itself else 'twin'}.onnx"
        if path not in names:
            raise TwinRefused(f"the wheel does not hold {path}")
        graph = wheel.read(path)
        samples = _json(wheel, f"{folder}/samples.json", names)
    actual = "sha256:" + hashlib.sha256(graph).hexdigest()
    if actual != twin["digest"]:
        raise DigestMismatch(f"{path} of {spec.wheel_name}", expected=twin["digest"], actual=actual)
    tolerance = float(twin.get("compared", {}).get("tolerance", TOLERANCE))
    threshold = None if spec.task == "regression" else float(document["threshold"])
    return TwinFiles(graph, threshold, tolerance, samples)


def prove_twin(files: TwinFiles, graph: TwinGraph, spec: EndpointSpec) -> None:
    """Raises TwinRefused at the first sample row that it scores otherwise than the model did.

    A label may differ only where the score is as good as the threshold: that was weighed when the
    two were compared on many rows.
    """
    rows: Sequence[Mapping[str, Any]] = files.samples.get("rows", [])
    if not rows:
        return
    columns: Columns = {
        column.name: [row.get(column.name) for row in rows] for column in spec.signature.inputs
    }
    said = graph.outputs(columns, len(rows))
    promised = {column.name for column in spec.signature.outputs}
    if set(said) != promised:
        raise TwinRefused(
            f"it says {', '.join(said)}; the signature, {', '.join(sorted(promised))}"
        )
    recorded = files.samples.get("outputs", {})
    main = "score" if "score" in said else "prediction"
    for row, (old, new) in enumerate(zip(recorded.get(main, []), said[main], strict=False)):
        if not _agree(old, float(new), files.tolerance):
            raise TwinRefused(
                f"it says {float(new):g} of sample row {row}, the model said {old}: "
                f"more than {files.tolerance:g} apart"
            )
    labels = zip(recorded.get("label", []), said.get("label", []), strict=False)
    for row, (old, new) in enumerate(labels):
        is_close = abs(said["score"][row] - (files.threshold or 0.0)) <= files.tolerance
        if old != int(new) and not is_close:
            raise TwinRefused(f"it says label {int(new)} of sample row {row}, the model said {old}")


def load_twin(spec: EndpointSpec) -> tuple[TwinGraph, Mapping[str, Any]]:
    """(the graph, the package's samples), verified and proved; takes a while."""
    try:
        files = read_twin(spec)
        graph = TwinGraph(files, spec)
        prove_twin(files, graph, spec)
    except SeamlineError:
        raise
    except Exception as error:  # whatever a foreign graph makes of the runtime
        raise TwinRefused(f"it does not load: {type(error).__name__}: {error}") from error
    return graph, files.samples


def _session(graph: bytes) -> Any:
    """One thread: a request is a few rows, and the cores have other requests."""
    silence_onnx_runtime()
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise TwinRefused(f"ONNX Runtime is not installed: {error}") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Weights beside the graph would be bytes that nobody has hashed: there is no such folder.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _json(wheel: zipfile.ZipFile, path: str, names: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wheel.read(path)) if path in names else {}
    return found


def _width(one: Any) -> int | None:
    shape = one.shape
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None


def _is_score(output: Any) -> bool:
    """Of two classes: pairs of probabilities, or a dict a row."""
    if output.type.startswith("seq(map("):
        return True
    is_float = output.type in ("tensor(float)", "tensor(double)")
    return is_float and len(output.shape) == 2 and output.shape[1] == 2


def _numbers(values: Values) -> np.ndarray[Any, np.dtype[Any]]:
    """A missing number is NaN."""
    if isinstance(values, np.ndarray):
        return values
    if None in values:
        return np.array([math.nan if value is None else value for value in values], np.float64)
    return np.array(values)


def _agree(old: float | None, new: float, tolerance: float) -> bool:
    """
    >>> _agree(0.5, 0.5004, 1e-3), _agree(0.5, 0.51, 1e-3), _agree(None, math.nan, 1e-3)
    (True, False, True)
    """
    if old is None or math.isnan(new):
        return old is None and math.isnan(new)
    return abs(old - new) <= tolerance
