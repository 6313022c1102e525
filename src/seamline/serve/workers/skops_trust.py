"""Says which of scikit-learn's estimators one skops file names, before skops is imported.

skops trusts the public estimators of scikit-learn. To know which these are it has scikit-learn list
them when it is imported, and scikit-learn imports all of its modules for it: a third of a worker's
start, for a list of which one file needs two or three names. Here the names that the file holds are
looked up by the same rule, and skops is given the list of those that keep it. So it trusts less
than it would, never more; what a package was approved for beyond it is told to it as ever.

Only for a process with one model: the list is made once. Standard library only.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Iterator
from typing import Any

#: A longer description is that of a large model, beside whose load the list costs little.
LONGEST_BYTES = 4 << 20

Named = tuple[str, str]


def trust_what_it_names(wheel: zipfile.ZipFile, payload: str) -> None:
    """Imports skops; where not every name keeps the rule, with the list that it makes itself."""
    named = named_estimators(wheel, payload)
    found = [public_estimator(*one) for one in sorted(named)]
    if not found or None in found:
        return
    utils: Any = importlib.import_module("sklearn.utils")
    whole = utils.all_estimators
    utils.all_estimators = lambda: [(one.__name__, one) for one in found if one]
    try:
        importlib.import_module("skops.io")
    finally:
        utils.all_estimators = whole


def named_estimators(wheel: zipfile.ZipFile, payload: str) -> set[Named]:
    """(module, class) of the objects of scikit-learn in a file. What is no such file is refused by
    skops, which knows why."""
    try:
        with wheel.open(payload) as file, zipfile.ZipFile(file) as inside:
            if inside.getinfo("schema.json").file_size > LONGEST_BYTES:
                return set()
            schema = json.loads(inside.read("schema.json"))
    except (ValueError, KeyError, zipfile.BadZipFile):
        return set()
    return {one for one in objects_in(schema) if one[0].startswith("sklearn.")}


def objects_in(schema: Any) -> Iterator[Named]:
    """
    >>> tree = {"__loader__": "TreeNode", "__module__": "sklearn.tree._tree", "__class__": "Tree"}
    >>> leaf = {"__loader__": "ObjectNode", "__module__": "m", "__class__": "C", "content": [tree]}
    >>> list(objects_in({"content": {"steps": [leaf]}}))
    [('m', 'C')]
    """
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if one.get("__loader__") == "ObjectNode":
                yield str(one.get("__module__")), str(one.get("__class__"))
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def public_estimator(module: str, name: str) -> type | None:
    """The class, where scikit-learn lists it among its estimators: a concrete one, found under a
    name without an underscore in the public package that its module lies in."""
    base = importlib.import_module("sklearn.base").BaseEstimator
    discovery = importlib.import_module("sklearn.utils.discovery")
    parts = module.split(".")
    private = next((place for place, part in enumerate(parts) if part[:1] == "_"), len(parts))
    hidden = getattr(discovery, "_MODULE_TO_IGNORE", None)
    if hidden is None or hidden & set(parts[:private]) or name[:1] == "_":
        return None
    try:
        found = getattr(importlib.import_module(".".join(parts[:private])), name, None)
    except ImportError:
        return None
    if not isinstance(found, type) or not issubclass(found, base) or found is base:
        return None
    is_same = (found.__module__, found.__name__) == (module, name)
    return found if is_same and not getattr(found, "__abstractmethods__", None) else None
