"""Contracts of datasets: suggested, shown, exported; and rows that broke them."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.data.contracts.declared import standing_contract
from seamline.data.contracts.exports import ExportFormat, export_contract
from seamline.data.contracts.inference import write_suggested
from seamline.data.contracts.quarantine import read_quarantine
from seamline.data.contracts.writing import write_contract
from seamline.data.declaration import DatasetDeclaration
from seamline.data.versions import (
    DatasetVersion,
    find_dataset,
    find_version,
    version_profile,
    version_row,
)
from seamline.domain.errors import NotFound, not_found
from seamline.measure.contracts import Contract

SHOWN_ROWS = 20


def suggest(platform: Platform, reference: str) -> dict[str, Any]:
    """From the version's profile; no row is read."""
    stores = platform.stores
    version = find_version(stores, reference)
    declaration, _ = _standing(platform, version.dataset)
    text = write_suggested(version, declaration, version_profile(stores, version))
    return {"dataset": version.dataset, "version": version.version, "text": text}


def show(platform: Platform, name: str) -> dict[str, Any]:
    """What the next delivery is held to, and what the newest version broke of its own."""
    declaration, contract = _standing(platform, name)
    with platform.stores.db.read() as connection:
        version = version_row(connection, name)
    return {
        "dataset": name,
        "from": declaration.contract or "its first delivery",
        "digest": contract.digest,
        "contract": contract.to_json(),
        "text": write_contract(contract),
        "newest": None if version is None else show_breaches(version),
    }


def show_breaches(version: DatasetVersion) -> dict[str, Any]:
    """What a version's delivery broke of its contract, and was taken in all the same."""
    return {
        "version": version.version,
        "contract_digest": version.contract_digest,
        "breaches": [violation.to_json() for violation in version.breaches],
        "rows_quarantined": version.rows_quarantined,
    }


def export(platform: Platform, name: str, form: ExportFormat) -> dict[str, Any]:
    _, contract = _standing(platform, name)
    text = export_contract(contract, name, form)
    return {"dataset": name, "digest": contract.digest, "to": str(form), "text": text}


def show_quarantine(platform: Platform, reference: str, most: int = SHOWN_ROWS) -> dict[str, Any]:
    """Rows that a version's delivery had to leave behind, as they were delivered, and why."""
    version = find_version(platform.stores, reference)
    return {
        "dataset": version.dataset,
        "version": version.version,
        "source": version.source,
        "rows_quarantined": version.rows_quarantined,
        "rows": read_quarantine(platform.stores, version, most),
    }


def _standing(platform: Platform, name: str) -> tuple[DatasetDeclaration, Contract]:
    """As declared now; a dataset that is declared no more keeps what it had."""
    declared = platform.declarations().datasets
    with platform.stores.db.read() as connection:
        dataset = find_dataset(connection, name)
        kept = None if dataset is None else dataset.declaration
        declaration = declared.get(name, kept)
        if declaration is None:
            raise not_found("dataset", name, declared)
        inferred = None if dataset is None else dataset.contract
        contract = standing_contract(connection, declaration, inferred)
    if contract is None:
        raise NotFound(
            f"Dataset {name} has no contract yet.",
            next_step='Its first delivery makes one, or declare a file: contract = "…".',
        )
    return declaration, contract
