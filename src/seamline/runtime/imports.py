"""What libraries are kept from in a long-lived process of ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class WithoutPandas(MetaPathFinder):
    """PyArrow imports pandas, where it is installed, at its first array: a stall of a second
    and 55 MB for a library that this process has no use for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("Seamline itself does not use pandas", name=fullname)
        return None


def silence_onnx_runtime() -> None:
    """Before it is imported: since 1.29 it sends its maker names and hashes of the graphs that it
    loads, and keeps an id of the machine. Whoever wants that sets the variable to 0."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
