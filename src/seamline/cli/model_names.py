"""How models are named on the command line."""

from __future__ import annotations

from seamline.app.references import split_reference
from seamline.domain.errors import InvalidInput


def one_version(name: str, version: str | None) -> tuple[str, str | None]:
    """`version` is what --version says; it can stand behind the name, too.

    >>> one_version("air-time@1.0.1", None), one_version("air-time", "1.0.1")
    (('air-time', '1.0.1'), ('air-time', '1.0.1'))
    """
    model, named = split_reference(name)
    if named is not None and version not in (None, named):
        raise InvalidInput(
            f"{name} names version {named}, and --version says {version}.",
            next_step="Leave one of the two out.",
        )
    return model, named or version
