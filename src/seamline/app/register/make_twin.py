"""The ONNX twin of a model that is being packaged: made, compared, and kept if it agrees.

The converters need older libraries than the model or the server may have, so both have an
environment beside the model's own. That a model has no twin is no failure: model.json says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.platform import Platform
from seamline.domain.errors import DigestMismatch, InvalidInput, MachineryError, Unavailable
from seamline.register.formats.kinds import HEAD_BYTES, ModelFormat, sniff_format
from seamline.register.models.twins import (
    CONVERTERS,
    decide_twin,
    no_twin,
    twin_task_of,
    why_none,
)
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import Limits, TaskEnd, TaskIsolation, TaskKind, TaskSpec
from seamline.store.blobs import digest_of_file

#: A conversion that takes longer is no help to anybody.
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Original:
    """What a twin is made from. `check_path`: the rows, and what the model said of them."""

    task_id: str
    what: str
    described: Mapping[str, Any]
    model_digest: str
    check_path: Path
    work: Path
    isolation: TaskIsolation
    share: str


def make_twin(platform: Platform, original: Original) -> dict[str, Any]:
    """`twin` of model.json; the graph is a blob, where there is one.

    MachineryError when the task was interrupted: then it is to be tried again.
    """
    described = original.described
    form = str(described["format"])
    if form == ModelFormat.ONNX:
        return {"digest": described["payload_digest"], "reason": ""}
    reason = why_none(form, int(described.get("check_rows", 0)))
    if reason:
        return no_twin(reason)
    try:
        environment = platform.environments.ensure(
            RequirementSet.of([*described["requirements"], *CONVERTERS[form]])
        )
    except (InvalidInput, Unavailable) as error:
        return no_twin(f"the converters cannot be installed beside the model's libraries: {error}")
    return _keep(platform, original, _convert(platform, original, environment))


def _convert(
    platform: Platform, original: Original, environment: PythonEnvironment
) -> dict[str, Any]:
    """What the task says; {reason} when it failed."""
    work = original.work
    work.mkdir(parents=True, exist_ok=True)
    model = platform.stores.blobs.verified_path(original.model_digest, f"model {original.what}")
    script, payload = twin_task_of(
        original.described, model.resolve(), original.check_path, _graph_of(original)
    )
    (work / "input.json").write_text(json.dumps(payload))
    spec = TaskSpec(
        task_id=original.task_id,
        kind=TaskKind.SCRIPT,
        source=script,
        input_path=work / "input.json",
        output_path=work / "output.json",
        work_dir=work,
        log_path=work / "log",
        environment=environment,
        limits=Limits(timeout_s=TIMEOUT_S),
        isolation=original.isolation,
        share=original.share,
    )
    outcome = platform.runner.start(spec).result()
    if outcome.is_machinery or outcome.end is TaskEnd.CANCELED:
        raise MachineryError(f"Converting {original.what} was interrupted.")
    if not outcome.succeeded:
        said = outcome.error.message if outcome.error else outcome.end.value
        return {"reason": f"the conversion failed: {said}"}
    found: dict[str, Any] = json.loads((work / "output.json").read_text())
    return found


def _keep(platform: Platform, original: Original, found: dict[str, Any]) -> dict[str, Any]:
    reason = found["reason"] or decide_twin(found["compared"])
    if reason:
        return {**found, **no_twin(reason)}
    path = _graph_of(original)
    actual = digest_of_file(path)
    if actual != found["digest"]:
        what = f"twin of {original.what}"
        raise DigestMismatch(what, expected=str(found["digest"]), actual=actual)
    with path.open("rb") as file:
        if sniff_format(file.read(HEAD_BYTES)) is not ModelFormat.ONNX:
            return {**found, **no_twin("what the converter wrote is no ONNX")}
    platform.stores.blobs.put_file(path)
    return found


def _graph_of(original: Original) -> Path:
    return original.work / "twin.onnx"
