"""Sources of tasks, verified and compiled; each once per process.

Standard library only: it is loaded in any task environment.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from importlib.util import decode_source
from pathlib import Path
from types import CodeType

_KEPT = 64


class Sources:
    """By digest: the next task of a component needs neither its file nor the compiler."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, CodeType]] = OrderedDict()

    def load(self, path: str, expected: str | None) -> tuple[str, CodeType]:
        """The text and the code, whose file name is `path`.

        What is compiled are the very bytes that have the expected digest, when one is given.
        """
        if expected is None or expected not in self._known:
            source, actual = read_verified(path, expected)
            expected = actual
            if actual not in self._known:
                self._keep(actual, source, path)
        self._known.move_to_end(expected)
        text, code = self._known[expected]
        return text, rename_code(code, path)

    def _keep(self, digest: str, source: bytes, path: str) -> None:
        self._known[digest] = (decode_source(source), self.compile(source, path))
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def compile(self, source: bytes, path: str) -> CodeType:
        """Not inherited: our `from __future__ import annotations` would hide types from kfp."""
        return compile(source, path, "exec", dont_inherit=True)


def read_verified(path: str, expected: str | None) -> tuple[bytes, str]:
    """The bytes and their digest, which is the expected one, when one is given."""
    data = Path(path).read_bytes()
    actual = "sha256:" + hashlib.sha256(data).hexdigest()
    if expected is not None and actual != expected:
        raise ValueError(f"{path}: expected {expected}, found {actual}.")
    return data, actual


def rename_code(code: CodeType, path: str) -> CodeType:
    """The same code from another file.

    >>> code = compile("def f():\\n    return 1\\n", "a.py", "exec")
    >>> [one.co_filename for one in rename_code(code, "b.py").co_consts if hasattr(one, "co_code")]
    ['b.py']
    """
    if code.co_filename == path:
        return code
    inner = tuple(
        rename_code(one, path) if isinstance(one, CodeType) else one for one in code.co_consts
    )
    return code.replace(co_filename=path, co_consts=inner)
