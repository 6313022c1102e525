"""Which index a task's packages come from: this server's, for the environment that it runs in."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.requirements import Requirement

from seamline.register.packages.index import is_ours
from seamline.store.stores import Stores
from seamline.train.context import PackageIndex


def index_for(
    stores: Stores, url: str, environment: str, requirements: Sequence[str]
) -> PackageIndex | None:
    """`url`: where this server answers; without one, what this machine's pip uses (None).

    Names of ours mean another version in each environment, so those who ask for one do not share a
    Python environment across them.
    """
    if not url:
        return None
    has_ours = is_ours(stores, *(Requirement(text).name for text in requirements))
    return PackageIndex(f"{url}/pypi/{environment}/simple/", environment if has_ours else "")
