"""Which model, in which version, a run predicted with."""

from __future__ import annotations

from seamline.app.declarations import Declarations
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import find_model
from seamline.domain.errors import InvalidInput, NotFound
from seamline.register.models.catalogue import ModelVersion, list_model_versions
from seamline.train.runs import show_request, show_run

_MODEL = "models://"


def is_run(platform: Platform, text: str) -> bool:
    try:
        show_request(platform.stores, text)
    except NotFound:
        return False
    return True


def model_of_run(platform: Platform, run_id: str) -> ModelVersion:
    """The one model that the run used and that declares how it is proved; InvalidInput where
    there is none, or several."""
    run = show_run(platform.stores, run_id)
    used = {
        (artifact["uri"].removeprefix(_MODEL).partition("@")[0], artifact["digest"])
        for task in run["tasks"]
        for artifact in task["outputs"]["artifacts"].values()
        if artifact["uri"].startswith(_MODEL)
    }
    declared = platform.declarations()
    proved = sorted((name, digest) for name, digest in used if _is_proved(declared, name))
    if len(proved) != 1:
        names = ", ".join(name for name, _ in proved) or "no model that declares an evaluation"
        raise InvalidInput(
            f"Run {run_id} predicted with {names}.",
            next_step=f"Say which: seamline evaluate MODEL --run {run_id}.",
        )
    name, digest = proved[0]
    versions = [
        one for one in list_model_versions(platform.stores, name) if one.wheel_digest == digest
    ]
    return versions[0] if versions else find_model(platform.stores, name)


def _is_proved(declared: Declarations, name: str) -> bool:
    try:
        return declared.model(name).evaluation is not None
    except NotFound:
        return False
