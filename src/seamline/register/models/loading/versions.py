"""Whether what is installed can read this model; asked before it tries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: Library → how far the installed version may be from the recorded one, as its documentation says:
#: "minor": only the same minor version reads the model; "newer": later ones read it, too; "major":
#: later ones do, and earlier ones of the same major version.
READERS = {
    "scikit-learn": "minor",  # "Security & maintainability limitations": unsupported otherwise
    "cloudpickle": "minor",
    "skops": "newer",
    "joblib": "newer",
    "xgboost": "newer",  # "Introduction to Model IO": models are read by later versions
    "xgboost-cpu": "newer",
    "lightgbm": "newer",
    "onnxruntime": "newer",  # "Compatibility": later versions run all earlier opsets
    "onnxruntime-gpu": "newer",
    "torch": "newer",
    "safetensors": "newer",
    "numpy": "major",  # pickled arrays name modules that numpy 1 does not have
}


def check_versions(name: str, requirements: Sequence[str]) -> None:
    """Refuses libraries that cannot read this model, before they try.

    ImportError: there is none; RuntimeError: another version. A library reads models of other
    versions wrongly rather than not at all, so this is no warning.
    """
    for requirement in requirements:
        pin, _, wanted = requirement.partition("==")
        library, wanted = pin.partition("[")[0].strip().lower(), wanted.strip()
        if library not in READERS or not wanted:
            continue
        try:
            found = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            raise ImportError(f"{name} needs {library} {wanted}, and there is none here.") from None
        if not can_read(READERS[library], wanted, found):
            raise RuntimeError(
                f"{name} was trained with {library} {wanted}; installed is {found}. "
                f"Install {library}=={wanted}, or train again."
            )


def check_twin_libraries(name: str) -> None:
    """ImportError where what runs an ONNX twin is not installed. Any version will do: a twin is
    written for old ones, and which of several distributions it came in does not matter."""
    for module in ("numpy", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"The ONNX twin of {name} needs {module}, and there is none here. "
                f"Install {module}, or use load(), which needs what the model was trained with."
            )


def can_read(rule: str, wanted: str, found: str) -> bool:
    """
    >>> can_read("minor", "1.9.1", "1.9.0"), can_read("minor", "1.9.1", "1.10.0")
    (True, False)
    >>> can_read("newer", "3.0.2", "3.1.0"), can_read("newer", "3.1.0", "3.0.2")
    (True, False)
    >>> can_read("major", "2.4.1", "2.0.0"), can_read("major", "2.4.1", "1.26.4")
    (True, False)
    """
    trained, installed = _first_two(wanted), _first_two(found)
    if rule == "minor":
        return trained == installed
    return installed[0] >= trained[0] if rule == "major" else installed >= trained


def _first_two(version: str) -> tuple[int, ...]:
    digits = ["".join(filter(str.isdigit, part)) or "0" for part in version.split(".")[:2]]
    return tuple(map(int, digits))


def check_python(document: Mapping[str, Any]) -> None:
    """cloudpickle keeps Python's own instructions, which differ between its minor versions."""
    recorded = str(document.get("python", ""))
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if document["format"] == "cloudpickle" and recorded != running:
        raise RuntimeError(
            f"{document['name']} was pickled by Python {recorded} with its functions; this is "
            f"Python {running}. Load it there, or train again."
        )
