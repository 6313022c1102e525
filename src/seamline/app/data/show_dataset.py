"""A dataset version with the files that hold it, and the check of every one of them."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.data.versions import find_version, show_version, table_folder, version_files
from seamline.data.versions.read import check_kept
from seamline.data.versions.removed import find_removal
from seamline.data.versions.tags import tags_by_version
from seamline.domain.errors import DigestMismatch
from seamline.store.blobs import check_file_digest


def show_dataset(platform: Platform, reference: str) -> dict[str, Any]:
    stores = platform.stores
    version = find_version(stores, reference)
    folder = table_folder(stores, version.dataset).resolve()
    files = [
        {**file.__dict__, "path": str(folder / file.relative)}
        for file in version_files(stores, version)
    ]
    with stores.db.read() as connection:
        tags = tags_by_version(connection, version.dataset).get(version.version, [])
        removal = find_removal(connection, version)
    told = None if removal is None else removal.__dict__
    return {**show_version(stores, version), "tags": tags, "removal": told, "files": files}


def verify_dataset(platform: Platform, reference: str) -> dict[str, Any]:
    """Raises DigestMismatch at the first file whose bytes are not those of the version, and
    Refused when retention has removed them."""
    stores = platform.stores
    version = find_version(stores, reference)
    check_kept(stores, version)
    folder = table_folder(stores, version.dataset)
    files = version_files(stores, version)
    for file in files:
        what = f"file {file.relative} of {version.reference}"
        if not (folder / file.relative).is_file():
            raise DigestMismatch(what, expected=file.sha256, actual="no file")
        check_file_digest(folder / file.relative, file.sha256, what)
    return {"dataset": version.dataset, "version": version.version, "files": len(files)}
