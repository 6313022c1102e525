"""The repository extension: what is there, and whether it is loaded.

What is served is what the approved release names (law 4). So `load` makes sure that one of these
answers, `unload` gives its memory back until it is asked or loaded; neither brings anything in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from seamline.domain.errors import InvalidInput, Refused
from seamline.serve.plane import Plane
from seamline.serve.routing import DEFAULT_ENVIRONMENT, Target

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
#: Parameters of `load` that would say what is served.
FOREIGN = ("config", "file:")


@dataclass(frozen=True)
class ModelState:
    name: str
    version: str
    state: str
    reason: str


class IndexRequest(msgspec.Struct):
    ready: bool | None = None


class LoadRequest(msgspec.Struct):
    parameters: dict[str, Any] | None = None


def read_index_request(body: bytes) -> bool:
    """Whether only what is ready is asked for; an empty body asks for all.

    >>> read_index_request(b""), read_index_request(b'{"ready": true}')
    (False, True)
    >>> read_index_request(b'{"ready": null}')
    False
    """
    asked: IndexRequest = _read(body, IndexRequest)
    return bool(asked.ready)


def read_load_request(body: bytes) -> None:
    """Raises Refused where it would bring in what the release does not name."""
    check_load_parameters(_read(body, LoadRequest).parameters or {})


def check_load_parameters(parameters: Mapping[str, Any]) -> None:
    """
    >>> check_load_parameters({"unload_dependents": True})
    """
    foreign = sorted(name for name in parameters if name.startswith(FOREIGN))
    if foreign:
        raise Refused(
            f"The parameter {foreign[0]!r} would change what is served.",
            next_step="What is served is the environment's approved release: promote another one.",
        )


def list_models(plane: Plane, environment: str, only_ready: bool) -> list[ModelState]:
    """All that the snapshot names, by name, whether it answers or why not."""
    routes = plane.table.environments.get(environment)
    problem = plane.problems.get(environment)
    if routes is None:
        if environment != DEFAULT_ENVIRONMENT and problem is None:
            plane.table.routes_of(environment)  # raises, with the nearest name
        return []
    found = []
    for spec in sorted(routes.snapshot.endpoints, key=lambda spec: spec.endpoint):
        target = routes.targets.get(spec.endpoint)
        if target is not None:
            state = state_of(target)
        else:
            known = {} if problem is None else problem.endpoints
            reason = known.get(spec.endpoint, "It was not loaded.")
            state = ModelState(spec.endpoint, spec.model_version, UNAVAILABLE, reason)
        if state.state == READY or not only_ready:
            found.append(state)
    return found


def state_of(target: Target) -> ModelState:
    worker, spec = target.model.worker, target.spec
    is_up = worker.is_alive
    return ModelState(
        spec.endpoint,
        spec.model_version,
        READY if is_up else UNAVAILABLE,
        "" if is_up else worker.problem,
    )


def _read(body: bytes, kind: type[Any]) -> Any:
    if body.strip() in (b"", b"null"):
        return kind()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The request cannot be read: {error}.") from error
