"""Versions of datasets: find, show and read them; every file is verified as it is read.

version   what a version is, and what names one        find    by number, tag, delivery
read      exactly its rows                             show    from its profile alone
tags      names that keep rows                         removed what retention has removed
"""

from __future__ import annotations

from seamline.data.versions.find import (
    find_dataset,
    find_named,
    find_version,
    last_replacing,
    list_datasets,
    list_versions,
    version_row,
    versions_of_rows,
    versions_of_run,
)
from seamline.data.versions.read import read_file, read_frames, read_version, version_files
from seamline.data.versions.show import (
    show_version,
    version_basis,
    version_profile,
    version_profiles_by_day,
)
from seamline.data.versions.version import (
    Dataset,
    DatasetVersion,
    Reference,
    VersionFile,
    parse_reference,
    table_folder,
)

__all__ = [
    "Dataset",
    "DatasetVersion",
    "Reference",
    "VersionFile",
    "find_dataset",
    "find_named",
    "find_version",
    "last_replacing",
    "list_datasets",
    "list_versions",
    "parse_reference",
    "read_file",
    "read_frames",
    "read_version",
    "show_version",
    "table_folder",
    "version_basis",
    "version_files",
    "version_profile",
    "version_profiles_by_day",
    "version_row",
    "versions_of_rows",
    "versions_of_run",
]
