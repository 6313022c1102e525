"""What a version of a dataset is, and what names one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seamline.data.declaration import DatasetDeclaration, Mode, check_dataset_name
from seamline.domain.errors import InvalidInput
from seamline.domain.tags import is_tag
from seamline.measure.contracts import Contract, Violation
from seamline.store.stores import Stores

#: What the newest version may be called where a version has to be named.
NEWEST = "latest"
_MOST_DIGITS = 9


@dataclass(frozen=True)
class DatasetVersion:
    """`rows_added` of its `rows` came with this version's delivery; the rest was there before.

    `schema` holds (column, dtype) in order, without `ds`. `digest` covers schema and files.
    """

    dataset: str
    version: int
    digest: str
    delta_version: int
    rows: int
    rows_added: int
    schema: tuple[tuple[str, str], ...]
    files_digest: str
    profile_digest: str
    days_digest: str
    basis_digest: str
    delivery_digest: str
    source: str
    run_id: str | None
    committed_by: str
    at: str
    #: Whether the delivery's rows were added, or are the whole table.
    mode: Mode = Mode.APPEND
    #: How far the source was read, where it is read by steps.
    watermark: str | None = None
    #: What the delivery was held to; None in versions that are older than that is kept.
    contract_digest: str | None = None
    #: What the delivery broke, and was taken in all the same; and how many rows were set aside.
    breaches: tuple[Violation, ...] = ()
    rows_quarantined: int = 0
    #: Of the file in which these rows are.
    quarantine_digest: str | None = None

    @property
    def reference(self) -> str:
        return f"{self.dataset}@{self.version}"

    @property
    def uri(self) -> str:
        return f"datasets://{self.reference}"

    def to_json(self) -> dict[str, Any]:
        schema = [{"name": name, "dtype": dtype} for name, dtype in self.schema]
        breaches = [violation.to_json() for violation in self.breaches]
        told = {"schema": schema, "mode": str(self.mode), "breaches": breaches}
        return {**asdict(self), **told}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetVersion:
        schema = tuple((column["name"], column["dtype"]) for column in data["schema"])
        breaches = tuple(Violation.from_json(one) for one in data.get("breaches", ()))
        mode = Mode(data.get("mode", Mode.APPEND))
        return cls(**{**data, "schema": schema, "mode": mode, "breaches": breaches})


@dataclass(frozen=True)
class VersionFile:
    """`relative` is the path below the table's folder; `partition` the day, as ISO text."""

    relative: str
    partition: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Dataset:
    """What is kept about a dataset besides its versions."""

    declaration: DatasetDeclaration
    contract: Contract
    basis_digest: str


@dataclass(frozen=True)
class Reference:
    """A version by number or tag (neither: the newest), or one of its splits."""

    dataset: str
    version: int | None = None
    tag: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        """
        >>> str(Reference("flights", 7, split="train")), str(Reference("flights", tag="golden"))
        ('flights@7/train', 'flights@golden')
        """
        which = self.tag if self.version is None else str(self.version)
        text = self.dataset if which is None else f"{self.dataset}@{which}"
        return text if self.split is None else f"{text}/{self.split}"


def parse_reference(text: str) -> Reference:
    """NAME, NAME@NUMBER, NAME@TAG or NAME@latest; after each /SPLIT may follow.

    >>> parse_reference("flights@7")
    Reference(dataset='flights', version=7, tag=None, split=None)
    >>> parse_reference("flights@golden/train")
    Reference(dataset='flights', version=None, tag='golden', split='train')
    >>> parse_reference("flights@latest") == parse_reference("flights")
    True
    """
    whole, slash, split = text.partition("/")
    name, at, which = whole.partition("@")
    is_number = which.isascii() and which.isdigit() and len(which) <= _MOST_DIGITS
    if (at and not is_number and (which.isdigit() or not is_tag(which))) or (
        slash and not is_tag(split)
    ):
        raise InvalidInput(
            f"{text!r} names no version of a dataset.",
            next_step="Write NAME@NUMBER, NAME@TAG, or NAME for the newest version; "
            "NAME@NUMBER/SPLIT for one of its splits.",
        )
    check_dataset_name(name)
    tag = which if at and not is_number and which != NEWEST else None
    return Reference(name, int(which) if is_number else None, tag, split or None)


def table_folder(stores: Stores, dataset: str) -> Path:
    return stores.root / "tables" / check_dataset_name(dataset)
