"""Tables of the data room."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, UniqueConstraint

from seamline.store.schema import METADATA

#: A dataset exists from its first version on.
DATASETS = Table(
    "datasets",
    METADATA,
    Column("name", String(63), primary_key=True),
    Column("declaration", Text, nullable=False),
    Column("contract", Text, nullable=False),
    # The blob that holds the basis of its profiles (its digest is the basis').
    Column("basis_digest", String(71), nullable=False),
    Column("created_at", String(27), nullable=False),
)

DATASET_VERSIONS = Table(
    "dataset_versions",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("delta_version", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rows_added", BigInteger, nullable=False),
    Column("schema", Text, nullable=False),
    # Blobs: all files of the version; its profile; the profiles by day of this delivery alone.
    Column("files_digest", String(71), nullable=False),
    Column("profile_digest", String(71), nullable=False),
    Column("days_digest", String(71), nullable=False),
    Column("basis_digest", String(71), nullable=False),
    Column("delivery_digest", String(71), nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", String(36), index=True),
    Column("committed_by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
    UniqueConstraint("dataset", "delivery_digest"),
)

#: The delivery that a dataset's writer is committing at this moment: written before the table's
#: commit and deleted with the version's row, so that a killed writer's work can be finished.
DATASET_INTENTS = Table(
    "dataset_intents",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("delivery_digest", String(71), nullable=False),
    Column("document", Text, nullable=False),
    Column("at", String(27), nullable=False),
)
