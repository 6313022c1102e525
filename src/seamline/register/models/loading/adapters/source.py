"""Source that came with a model becomes modules: the very bytes that were hashed, never a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

_INIT = "/__init__.py"
_PACKAGE = "model_code_"


def verified_sources(digests: Mapping[str, str], code: Mapping[str, bytes]) -> dict[str, str]:
    """Path → source, of just the files that are named; ValueError for one with other bytes."""
    for path, expected in digests.items():
        actual = "sha256:" + hashlib.sha256(code[path]).hexdigest()
        if actual != expected:
            raise ValueError(f"{path} was altered: expected {expected}, found {actual}.")
    return {path: code[path].decode() for path in sorted(digests)}


def import_sources(sources: Mapping[str, str], entry: str) -> ModuleType:
    """The module `entry` ("model") of a package that is called by the digest of its sources, so
    that two versions of a model can be there at once."""
    digest = hashlib.sha256(json.dumps(dict(sources)).encode()).hexdigest()
    package = f"{_PACKAGE}{digest[:16]}"
    if package not in sys.modules:
        sys.meta_path.append(_Finder(package, sources))
    return importlib.import_module(f"{package}.{entry}")


def local_name(module: str) -> str:
    """Without the package that it was put into, if it was.

    >>> local_name("model_code_0123456789abcdef.layers.dense"), local_name("torch.nn")
    ('layers.dense', 'torch.nn')
    """
    return module.partition(".")[2] if module.startswith(_PACKAGE) else module


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Modules of one package, out of memory."""

    def __init__(self, package: str, sources: Mapping[str, str]) -> None:
        self._package = package
        #: Module → its path, and whether it is a package.
        self._places: dict[str, tuple[str, bool]] = {package: ("__init__.py", True)}
        self._sources = dict(sources)
        for path in sources:
            for end in range(1, path.count("/") + 1):  # folders need no __init__.py
                folder = "/".join(path.split("/")[:end])
                self._places[self._name(folder)] = (folder + _INIT, True)
            is_package = path.endswith(_INIT)
            if path != "__init__.py":
                stem = path[: -len(_INIT)] if is_package else path[: -len(".py")]
                self._places[self._name(stem)] = (path, is_package)

    def _name(self, stem: str) -> str:
        return f"{self._package}.{stem.replace('/', '.')}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._places:
            return None
        is_package = self.is_package(fullname)
        # Tracebacks name it; its lines come from get_source.
        origin = self.get_filename(fullname)
        spec = importlib.util.spec_from_loader(fullname, self, origin=origin, is_package=is_package)
        if spec is not None:
            spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        return self._sources.get(self._places[fullname][0], "")

    def is_package(self, fullname: str) -> bool:
        return self._places[fullname][1]

    def get_filename(self, fullname: str) -> str:
        return f"{self._package}/{self._places[fullname][0]}"
