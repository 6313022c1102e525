"""Pickles of all kinds: they run code."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any


def open_payload(document: Mapping[str, Any], payload: bytes) -> Any:
    """ValueError for a pickle that takes more than what was seen when the model was packaged."""
    if document["format"] == "joblib":
        return importlib.import_module("joblib").load(io.BytesIO(payload))
    return _Unpickler(payload, document["loading"]["globals"]).load()


class _Unpickler(pickle.Unpickler):
    """Imports what was recorded, and nothing else. It runs code all the same."""

    def __init__(self, payload: bytes, known: Sequence[str]) -> None:
        super().__init__(io.BytesIO(payload))
        self._known = frozenset(known)

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._known:
            raise ValueError(f"The model asks for {module}.{name}, which was not recorded.")
        return super().find_class(module, name)
