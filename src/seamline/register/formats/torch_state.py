"""PyTorch: a module's state as safetensors, and the source of the module beside it.

A task writes a folder: `state.safetensors` (the `state_dict`), `model.py` (its
`build_model(**settings)` returns the module; what it imports of its own lies beside it) and
`settings.json` (what it is built with, and what its output means). The state is data: nothing in it
can be called. The source is code: people can read it, the wheel carries it file by file, and
model.json names each by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import IO, Any

from seamline.domain.errors import InvalidInput
from seamline.register.formats.code_rules import check_code_path, scan_code
from seamline.register.formats.kinds import ModelFormat
from seamline.register.formats.model_code import (
    SETTINGS,
    ModelCode,
    check_code_described,
    parse_settings,
)
from seamline.register.formats.scan import Scan, check_findings
from seamline.register.formats.tensors import read_tensors

STATE = "state.safetensors"
#: What Python leaves behind when the task imports its own model.py.
_CACHE = "__pycache__"


def is_state_folder(paths: Iterable[str]) -> bool:
    """
    >>> is_state_folder(["model.py", "state.safetensors"]), is_state_folder(["model.pkl"])
    (True, False)
    """
    return STATE in paths


def code_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the folder's files that are source. InvalidInput for files that are no part of it.

    >>> code_paths(["model.py", "settings.json", "state.safetensors", "__pycache__/model.pyc"])
    ('model.py',)
    """
    found = []
    for path in sorted(paths):
        if path in (STATE, SETTINGS) or _CACHE in PurePosixPath(path).parts:
            continue
        if not path.endswith(".py"):
            raise InvalidInput(
                f"The model's folder holds {path}, which is neither its state, its settings nor "
                "its source.",
                next_step=f"Put numbers into {STATE} (as a buffer of the module) and words into "
                f"{SETTINGS}.",
            )
        found.append(check_code_path(path))
    return tuple(found)


def scan_state(
    state: IO[bytes], size_bytes: int, settings: bytes | None, code: Mapping[str, bytes]
) -> Scan:
    """What loading would import, and whether the parts are sound. Reads the state's header only."""
    read_tensors(state, size_bytes)
    if settings is None:
        raise InvalidInput(
            f"There is no {SETTINGS} beside {STATE}: what the model's output is, nothing says.",
            next_step=f'Write {SETTINGS} with {{"task": "regression"}}, or '
            '{"task": "binary_classification", "score": "logit"}.',
        )
    found = scan_code(code)
    described = ModelCode(code, parse_settings(settings))
    return Scan(ModelFormat.TORCH_STATE, found.imports, found.findings, described)


def check_state_described(
    document: Mapping[str, Any], state: IO[bytes], size_bytes: int, code: Mapping[str, bytes]
) -> None:
    """What lies in a wheel is what its model.json says: each file of source by its digest, and the
    modules that they import."""
    what = f"{document['name']} {document['version']}"
    check_code_described(document.get("code"), code)
    read_tensors(state, size_bytes)
    found = scan_code(code)
    check_findings(Scan(ModelFormat.TORCH_STATE, findings=found.findings), what)
    if list(found.imports) != document["loading"]["globals"]:
        raise InvalidInput(
            f"model.json of {what} does not describe its code, which imports "
            f"{', '.join(found.imports)}."
        )
