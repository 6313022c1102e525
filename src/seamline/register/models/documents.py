"""model.json: what a model wheel says about itself. Made here, checked at registration."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, Refused
from seamline.register.formats.kinds import (
    ARBITRARY_CODE,
    CODE_VERDICT,
    ModelFormat,
    read_format,
)
from seamline.register.formats.model_code import TASKS, check_code_described
from seamline.register.formats.scan import Scan
from seamline.register.models import loading, package_task
from seamline.register.models.loading.opening import CODE

SCHEMA = 1
LOADER = Path(loading.__file__).parent
_ADAPTERS = "adapters/"
_BESIDE = re.compile(r"^from \.(\w+) import", re.MULTILINE)
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,62}[a-z0-9])?")


@dataclass(frozen=True)
class DatasetVersionRef:
    name: str
    version: int
    digest: str


@dataclass(frozen=True)
class DatasetSplitRef:
    """A part of a version that the run read; `digest` is that of its definition and version."""

    name: str
    version: int
    split: str
    digest: str


@dataclass(frozen=True)
class Lineage:
    """Where the model came from; it travels inside the wheel."""

    run_id: str
    pipeline: str
    pipeline_digest: str
    dataset_versions: tuple[DatasetVersionRef, ...]
    commit: str | None
    trained_at: str
    previous_version: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Path of the task that made it ("scenarios[3]/train-one/train").
    task: str = ""
    #: What the loops around that task were at.
    item: Mapping[str, Any] = field(default_factory=dict)
    #: The run whose result that task took from the cache.
    cached_from: str | None = None
    #: The IR that ran: of the pipeline itself, or of the loop over scenarios made from it.
    executed_digest: str | None = None
    #: Of the dataset versions: what of them the run read, where that was not all.
    dataset_splits: tuple[DatasetSplitRef, ...] = ()


def module_of_model(name: str) -> str:
    """The import name; InvalidInput when the name cannot be one.

    >>> module_of_model("late-arrival")
    'late_arrival'
    """
    module = name.replace("-", "_")
    taken = keyword.iskeyword(module) or module in sys.stdlib_module_names
    if not _NAME.fullmatch(name) or "--" in name or taken:
        raise InvalidInput(
            f"{name!r} cannot be a model's name.",
            next_step="Use lower-case letters, digits and single hyphens (at most 64), and no "
            "name of Python's own.",
        )
    return module


def packaging_task(
    model_path: Path,
    samples_path: Path,
    *,
    requirements: Sequence[str],
    threshold: float = 0.5,
    nullable: Sequence[str] = (),
    scan: Scan | None = None,
    payload_digest: str | None = None,
    check: Mapping[str, Any] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """The script and its payload, for a task process of the model's requirement set.

    `scan`: of the model's bytes, admitted already; without one they are taken for skops.
    `payload_digest`: of those bytes; the task opens no others. `check`: `twins.check_plan`.
    """
    payload = {
        "loader_path": str(LOADER),
        "model_path": str(model_path),
        "samples_path": str(samples_path),
        "requirements": list(requirements),
        "threshold": threshold,
        "nullable": list(nullable),
        "format": scan.format if scan else "skops",
        "loading": scan.to_json() if scan else None,
        "payload_digest": payload_digest,
        "code": scan.code.to_task() if scan and scan.code else None,
        "check": check,
    }
    return Path(package_task.__file__), payload


def loader_files(formats: Iterable[str]) -> dict[str, str]:
    """The files of the private package `_loader`, as they go into a wheel: path → text.

    Of the adapters only those of these formats, and what they import of one another.
    """
    files = {
        path.relative_to(LOADER).as_posix(): path.read_text("utf-8")
        for path in sorted(LOADER.rglob("*.py"))
    }
    needed, waiting = set[str](), ["__init__", *(loading.ADAPTERS[one] for one in formats)]
    while waiting:
        path = f"{_ADAPTERS}{waiting.pop()}.py"
        if path not in needed:
            needed.add(path)
            waiting += _BESIDE.findall(files[path])
    return {
        path: text
        for path, text in files.items()
        if path in needed or not path.startswith(_ADAPTERS)
    }


def formats_in(document: Mapping[str, Any]) -> set[str]:
    """The model's own, and ONNX where it has a twin."""
    has_twin = document.get("twin", {}).get("digest") is not None
    return {str(document["format"])} | ({str(ModelFormat.ONNX)} if has_twin else set())


def make_model_document(
    name: str,
    version: str,
    described: Mapping[str, Any],
    lineage: Lineage,
    *,
    family: str | None = None,
    scenario: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    profile_digest: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """model.json from what the packaging task described; checked.

    `family`: what has one model per scenario; `scenario`: which one this is the model of.
    `parameters`, `metrics`: what the task said itself; where it said nothing, what was read off
    the fitted model and measured by the run stands there. `training`: how it was trained.
    """
    read = described.get("estimator", {})
    measured = (training or {}).get("metrics", {})
    document = {
        "schema": SCHEMA,
        "name": name,
        "module": module_of_model(name),
        "version": version,
        "family": family or name,
        "scenario": dict(scenario or {}),
        **{key: described[key] for key in _DESCRIBED},
        **{key: described[key] for key in _DESCRIBED_SINCE if key in described},
        "parameters": dict(parameters or read.get("parameters", {})),
        "metrics": dict(metrics or {**measured.get("train", {}), **measured.get("test", {})}),
        "training": dict(training or {}),
        "lineage": asdict(lineage),
        "profile_digest": profile_digest,
    }
    document["lineage"]["dataset_versions"] = list(document["lineage"]["dataset_versions"])
    splits = document["lineage"].pop("dataset_splits")
    if splits:
        document["lineage"]["dataset_splits"] = list(splits)
    check_model_document(document)
    return document


def family_of(document: Mapping[str, Any]) -> str:
    """Wheels of earlier versions of Seamline name none: their models stand for themselves."""
    return str(document.get("family", document["name"]))


_DESCRIBED = (
    "task",
    "format",
    "payload_digest",
    "threshold",
    "signature",
    "requirements",
    "requires_python",
    "trusted_types",
    "frame",
)
#: Wheels of earlier versions of Seamline have none of these.
_DESCRIBED_SINCE = ("loading", "python", "estimator", "code", "twin")


def check_model_document(document: Mapping[str, Any]) -> None:
    """InvalidInput names what is wrong; Refused when loading it could run arbitrary code."""
    try:
        _check(document)
        refused = [
            name
            for name in document["trusted_types"]
            if not package_task.is_allowed_type(str(name))
        ]
    except KeyError as error:
        raise InvalidInput(f"model.json has no {error}.") from error
    except (TypeError, InvalidRequirement) as error:
        raise InvalidInput(f"model.json is malformed: {error}.") from error
    if refused:
        raise Refused(
            f"Loading {document['name']} would run arbitrary code: {', '.join(refused)}.",
            next_step="Only types of scikit-learn, numpy and scipy are packaged.",
        )


def _check(document: Mapping[str, Any]) -> None:
    if document["schema"] != SCHEMA:
        raise InvalidInput(f"model.json has schema {document['schema']!r}, wanted {SCHEMA}.")
    if module_of_model(document["name"]) != document["module"]:
        raise InvalidInput(f"model.json names the module {document['module']!r}.")
    module_of_model(family_of(document))
    if not isinstance(document.get("scenario", {}), dict):
        raise InvalidInput(f"model.json's scenario is {document['scenario']!r}, no object.")
    check_version(document["version"])
    if document["task"] not in TASKS:
        raise InvalidInput(f"model.json's task is {document['task']!r}; known: {', '.join(TASKS)}.")
    form = read_format(document["format"])
    said = document.get("loading", {}).get("verdict")
    if form in ARBITRARY_CODE and said != CODE_VERDICT:
        raise InvalidInput(f"model.json says of a {form} file that loading it is {said!r}.")
    if form is ModelFormat.TORCH_STATE or "code" in document:
        check_code_described(document.get("code"))
    if not isinstance(document.get("training", {}), dict):
        raise InvalidInput(f"model.json's training is {document['training']!r}, no object.")
    for digest in payload_files(document).values():
        parse_digest(digest)
    for column in [*document["signature"]["inputs"], *document["signature"]["outputs"]]:
        if column["datatype"] not in loading.TYPES:
            raise InvalidInput(f"{column['name']} has the datatype {column['datatype']!r}.")
        if not isinstance(column.get("unit", ""), str):
            raise InvalidInput(f"{column['name']} has the unit {column['unit']!r}, no text.")
    for requirement in document["requirements"]:
        if canonicalize_name(Requirement(requirement).name) == document["name"]:
            raise InvalidInput(
                f"The model {document['name']} bears the name of a library that it needs."
            )
    if not document["lineage"]["run_id"]:
        raise InvalidInput("model.json's lineage names no run.")


def check_version(text: str) -> Version:
    """Canonical PEP 440, so that the file name and the metadata agree.

    >>> str(check_version("1.0.3"))
    '1.0.3'
    """
    try:
        version = Version(text)
    except InvalidVersion:
        version = None
    if version is None or str(version) != text or version.local:
        raise InvalidInput(
            f"{text!r} cannot be a version.", next_step="Use the form 1.0.3 (PEP 440)."
        )
    return version


def code_folder(document: Mapping[str, Any]) -> str:
    """Where source that belongs to the model lies in its wheel, if there is any."""
    return f"{document['module']}/{CODE}/"


def payload_files(document: Mapping[str, Any]) -> dict[str, str]:
    """Path in the wheel → digest: the model's own bytes, and those of its ONNX twin, if any.

    A model that is ONNX itself is its own twin, and lies there once.
    """
    files = {payload_path(document): str(document["payload_digest"])}
    twin = document.get("twin", {}).get("digest")
    if twin is not None and twin != document["payload_digest"]:
        files[f"{document['module']}/{loading.TWIN}"] = str(twin)
    return files


def payload_path(document: Mapping[str, Any]) -> str:
    """Where the model's bytes lie in its wheel."""
    return f"{document['module']}/{loading.PAYLOADS[document['format']]}"
