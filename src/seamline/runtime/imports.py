"""Keeping a library out of a long-lived process of ours."""

from __future__ import annotations

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
