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
    # "append": the delivery's rows were added; "replace": they are the whole table.
    Column("mode", String(16), nullable=False, server_default="append"),
    # How far the source was read, where it is read by steps.
    Column("watermark", Text),
    # What its delivery was held to; what it broke and was taken in all the same, as JSON; and how
    # many of its rows were set aside.
    Column("contract_digest", String(71)),
    Column("breaches", Text, nullable=False, server_default="[]"),
    Column("rows_quarantined", BigInteger, nullable=False, server_default="0"),
    # Of the file that holds them.
    Column("quarantine_digest", String(71)),
    Column("run_id", String(36), index=True),
    Column("committed_by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
    UniqueConstraint("dataset", "delivery_digest"),
)

#: The version that a dataset's writer is committing at this moment, all of it: written before the
#: table's commit and deleted with the version's row, so that others can finish a dead one's work.
DATASET_INTENTS = Table(
    "dataset_intents",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("delivery_digest", String(71), nullable=False),
    Column("document", Text, nullable=False),
    Column("at", String(27), nullable=False),
)

#: Tables of warehouses at a moment or a version: registered, not copied.
DATASET_PINS = Table(
    "dataset_pins",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("uri", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("value", String(64), nullable=False),
    Column("statement", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("pinned_by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
    UniqueConstraint("dataset", "digest"),
)

#: The contracts that projects declare for datasets, as they were written.
DATASET_CONTRACTS = Table(
    "dataset_contracts",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("digest", String(71), nullable=False),
    # The path in the project, and its text.
    Column("file", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("applied_by", String(120), nullable=False),
    Column("at", String(27), nullable=False),
)

#: Names for versions; a tagged version's rows are kept.
DATASET_TAGS = Table(
    "dataset_tags",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("tag", String(128), primary_key=True),
    # NULL: deleted. The row stays, so that an x.y.z cannot come back with other rows.
    Column("version", Integer),
    Column("tagged_by", String(120), nullable=False),
    Column("tagged_at", String(27), nullable=False),
)

#: Splits that were used: what they are holds for their version from then on.
DATASET_SPLITS = Table(
    "dataset_splits",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("split", String(128), primary_key=True),
    # Of the definition and the version.
    Column("digest", String(71), nullable=False),
    Column("definition", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    # Blob: the files that tasks see, once it has been laid out (they can be made anew).
    Column("files_digest", String(71)),
    Column("fixed_by", String(120), nullable=False),
    Column("fixed_at", String(27), nullable=False),
)

#: Versions whose rows retention has removed.
DATASET_REMOVALS = Table(
    "dataset_removals",
    METADATA,
    Column("dataset", String(63), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("removed_by", String(120), nullable=False),
    Column("removed_at", String(27), nullable=False),
)
