"""seamline-loader as a wheel: made of this installation's own copy, when it is first needed."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select

import seamline
from seamline.domain.errors import MachineryError
from seamline.register.packages.index import (
    PUBLISHING,
    RESERVED,
    PackageFile,
    admit,
    enter_package,
    list_package_files,
    model_package_file,
)
from seamline.register.packages.wheel_pack import WHEEL_FILE, pack_wheel, wheel_name
from seamline.register.statements import state_package
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores

(LOADER,) = RESERVED
MODULE = "seamline_loader"
#: Who publishes it.
SYSTEM = "seamline"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def find_loader_source() -> Path:
    """The folder of the module: in the repository, or the copy that the wheel carries."""
    package = Path(seamline.__file__).resolve().parent
    for place in (package.parents[1] / "loader" / "src" / MODULE, package / "loader" / MODULE):
        if (place / "__init__.py").exists():
            return place
    raise MachineryError("seamline-loader's files are not installed with this package.")


def build_loader_wheel(source: Path) -> tuple[str, bytes]:
    """(version, wheel): the same source gives the same bytes."""
    files = {
        f"{MODULE}/{path.relative_to(source).as_posix()}": path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.suffix in (".py", ".typed")
    }
    match = _VERSION.search(files[f"{MODULE}/__init__.py"].decode())
    if match is None:
        raise MachineryError(f"{source} names no version of seamline-loader.")
    info = f"{MODULE}-{match[1]}.dist-info"
    headers = (
        "Metadata-Version: 2.1",
        f"Name: {LOADER}",
        f"Version: {match[1]}",
        "Summary: Fetches the payload of a thin model wheel by digest, or answers by API.",
        "Requires-Python: >=3.9",
    )
    files[f"{info}/METADATA"] = ("\n".join(headers) + "\n").encode()
    files[f"{info}/WHEEL"] = WHEEL_FILE.encode()
    return match[1], pack_wheel(files, info)


@lru_cache(maxsize=1)
def _built() -> tuple[str, bytes]:
    return build_loader_wheel(find_loader_source())


def publish_loader(stores: Stores, environment: str) -> PackageFile:
    """This version of the loader, entered into the environment's index where it is not there.

    What was published under a version stays what it is; earlier versions stay, too.
    """
    version, wheel = _built()
    for file in list_package_files(stores, environment, LOADER):
        if file.version == version:
            return file
    entry = model_package_file(stores, wheel_name(LOADER, version), wheel, SYSTEM)
    with stores.db.transaction() as tx:
        # One after the other: of two that need it in the same instant, the second finds it.
        tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()
        known = list_package_files(stores, PUBLISHING, LOADER)
        held = [file for file in known if file.version == version]
        if not held:
            enter_package(stores, tx, entry)
            named = (LOADER, version)
            state_package(stores, tx, entry.filename, entry.digest, named, by=SYSTEM)
        return admit(tx, stores.clock, environment, LOADER, version, by=SYSTEM)[0]
