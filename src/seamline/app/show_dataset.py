"""A dataset version with the files that hold it, and the check of every one of them."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.data.versions import find_version, show_version, table_folder, version_files
from seamline.store.blobs import check_file_digest


def show_dataset(platform: Platform, reference: str) -> dict[str, Any]:
    stores = platform.stores
    version = find_version(stores, reference)
    folder = table_folder(stores, version.dataset).resolve()
    files = [
        {**file.__dict__, "path": str(folder / file.relative)}
        for file in version_files(stores, version)
    ]
    return {**show_version(stores, version), "files": files}


def verify_dataset(platform: Platform, reference: str) -> dict[str, Any]:
    """Raises DigestMismatch at the first file whose bytes are not those of the version."""
    stores = platform.stores
    version = find_version(stores, reference)
    folder = table_folder(stores, version.dataset)
    files = version_files(stores, version)
    for file in files:
        what = f"file {file.relative} of {version.reference}"
        check_file_digest(folder / file.relative, file.sha256, what)
    return {"dataset": version.dataset, "version": version.version, "files": len(files)}
