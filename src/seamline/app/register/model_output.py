"""What a run gave as its model: which file is the model, and what loading it would do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from seamline.domain.errors import InvalidInput
from seamline.register.formats.code_rules import MAX_CODE_BYTES
from seamline.register.formats.model_code import SETTINGS
from seamline.register.formats.scan import Scan, scan_file
from seamline.register.formats.torch_state import (
    STATE,
    code_paths,
    is_state_folder,
    scan_state,
)
from seamline.store.blobs import Blobs
from seamline.train.artifacts import Artifact, read_manifest


@dataclass(frozen=True)
class ModelOutput:
    #: Of the model's own bytes: what is called its payload once it is packaged.
    digest: str
    scan: Scan


def read_output(blobs: Blobs, artifact: Artifact, model: str, what: str) -> ModelOutput:
    """The file itself; or a folder that holds it alone, or with the source of what it is the state
    of. Nothing is loaded."""
    files = {"": artifact.digest}
    if artifact.is_directory:
        files = read_manifest(blobs, artifact)
    is_state = is_state_folder(files)
    if not is_state and len(files) != 1:
        raise InvalidInput(
            f"The output of {model} is a folder with {len(files)} files: "
            f"{', '.join(sorted(files)[:5])}.",
            next_step=f"Write the model as one file; or, with PyTorch, {STATE} beside model.py "
            f"and {SETTINGS}.",
        )
    digest = files[STATE] if is_state else next(iter(files.values()))
    with (
        closing(blobs.open_verified(digest, f"model {what}")) as opened,
        opened.reading() as file,
    ):
        if not is_state:
            return ModelOutput(digest, scan_file(file))
        told, code = _read_texts(blobs, files)
        return ModelOutput(digest, scan_state(file, opened.size_bytes, told, code))


def _read_texts(blobs: Blobs, files: Mapping[str, str]) -> tuple[bytes | None, dict[str, bytes]]:
    """Settings and source, which have to be small."""
    found: dict[str, bytes] = {}
    size_bytes = 0
    for path in (*code_paths(files), *([SETTINGS] if SETTINGS in files else [])):
        with closing(blobs.open_verified(files[path], path)) as opened, opened.reading() as file:
            size_bytes += opened.size_bytes
            if size_bytes > MAX_CODE_BYTES:
                raise InvalidInput(
                    f"Source and settings of the model have {size_bytes:,} bytes up to {path}: "
                    f"{MAX_CODE_BYTES:,} is the limit.",
                    next_step="Put numbers into the state, as a buffer of the module.",
                )
            found[path] = file.read()
    return found.pop(SETTINGS, None), found
