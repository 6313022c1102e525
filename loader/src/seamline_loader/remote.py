"""The same `predict`, answered by API: Open Inference Protocol v2, JSON."""

from __future__ import annotations

import http.client
import importlib
import importlib.util
import json
import urllib.error
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from seamline_loader.errors import EndpointError
from seamline_loader.web import address_of, told_by, why

#: Rows in one request: a server reads bodies of some megabytes only.
ROWS_PER_REQUEST = 5000
_DTYPES = {"BOOL": "bool_", "INT64": "int64", "FP64": "float64", "BYTES": "object_"}

Columns = dict[str, list[Any]]


class RemoteModel:
    """What `load()` gives with SEAMLINE_ENDPOINT set. Predicts as the model in the wheel does,
    with no byte of it in this process; arrays are lists where there is no numpy.

    `read_columns(rows, inputs)`: the wheel's own check of the rows, so that the same rows are
    refused for the same reasons. A version that the caller does not have installed may answer:
    that is what promotion is for. It is told by a warning, once.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        read_columns: Callable[[Any, Sequence[Mapping[str, Any]]], Columns],
        endpoint: str,
        token: str | None = None,
    ) -> None:
        self.document = document
        self._read_columns = read_columns
        self._path = f"/v2/models/{document['name']}"
        base, named, rest = endpoint.rstrip("/").partition("/v2/models/")
        if named:
            self._path = named + rest
        self._address = address_of(base, token)
        self._told: set[str] = set()

    @property
    def version(self) -> str:
        """The installed one."""
        return str(self.document["version"])

    @property
    def signature(self) -> dict[str, Any]:
        return dict(self.document["signature"])

    def outputs(self, rows: Any) -> dict[str, Any]:
        """Named arrays, one value a row. EndpointError says why there are none."""
        columns = self._read_columns(rows, self.document["signature"]["inputs"])
        count = len(next(iter(columns.values())))
        declared = self.document["signature"]["outputs"]
        found: Columns = {output["name"]: [] for output in declared}
        for start in range(0, count, ROWS_PER_REQUEST):
            end = min(start + ROWS_PER_REQUEST, count)
            answer = self._ask({name: values[start:end] for name, values in columns.items()})
            for name, values in found.items():
                values += self._output(answer, name, end - start)
        return {one["name"]: _array(found[one["name"]], one["datatype"]) for one in declared}

    def predict(self, rows: Any) -> Any:
        """The main output: the first of the signature."""
        return self.outputs(rows)[self.document["signature"]["outputs"][0]["name"]]

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities of the two classes, shape (rows, 2), of a model that has a score."""
        names = [output["name"] for output in self.document["signature"]["outputs"]]
        if "score" not in names:
            raise TypeError(
                f"{self.document['name']} has the outputs {', '.join(names)}: no probabilities."
            )
        pairs = [[1.0 - float(score), float(score)] for score in self.outputs(rows)["score"]]
        if importlib.util.find_spec("numpy") is None:
            return pairs
        return importlib.import_module("numpy").array(pairs, "float64").reshape(-1, 2)

    def _ask(self, columns: Columns) -> Mapping[str, Any]:
        inputs = [
            {
                "name": declared["name"],
                "shape": [len(columns[declared["name"]])],
                "datatype": declared["datatype"],
                "data": [_plain(value) for value in columns[declared["name"]]],
            }
            for declared in self.document["signature"]["inputs"]
        ]
        body = json.dumps({"inputs": inputs}, allow_nan=False).encode()
        try:
            headers = {"Content-Type": "application/json"}
            with self._address.send(f"{self._path}/infer", headers, body) as response:
                answer: Any = json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                told = told_by(error.read()) or "no reason given."
            raise self._failed(f"answered {error.code}: {told}") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(f"cannot be reached ({why(error)}).") from error
        except ValueError as error:
            raise self._failed("answered with something that is no JSON.") from error
        self._compare_version(str(answer.get("model_version", "")))
        return dict(answer)

    def _output(self, answer: Mapping[str, Any], name: str, count: int) -> list[Any]:
        for output in answer.get("outputs", []):
            if output.get("name") == name and len(output.get("data", [])) == count:
                return list(output["data"])
        raise self._failed(f"answered without {count} values of the output {name!r}.")

    def _compare_version(self, answering: str) -> None:
        if answering and answering != self.version and answering not in self._told:
            self._told.add(answering)
            warnings.warn(
                f"{self._address.url} answers as {self.document['name']} {answering}; installed "
                f"is {self.version}.",
                stacklevel=4,
            )

    def _failed(self, what: str) -> EndpointError:
        return EndpointError(
            f"{self.document['name']} at {self._address.url}{self._path} {what} "
            "SEAMLINE_ENDPOINT says where predictions come from; unset it to load the model here."
        )


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _array(values: list[Any], datatype: str) -> Any:
    if importlib.util.find_spec("numpy") is None:
        return values
    return importlib.import_module("numpy").array(values, _DTYPES[datatype])
