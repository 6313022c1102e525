"""Tables of the register room."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from seamline.store.schema import METADATA

PIPELINE_VERSIONS = Table(
    "pipeline_versions",
    METADATA,
    # "{project}/{repository}"
    Column("repository", String(127), primary_key=True),
    Column("package", String(128), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("published_by", String(120), nullable=False),
    Column("published_at", String(27), nullable=False),
)

PIPELINE_TAGS = Table(
    "pipeline_tags",
    METADATA,
    Column("repository", String(127), primary_key=True),
    Column("package", String(128), primary_key=True),
    Column("tag", String(128), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("updated_at", String(27), nullable=False),
    # A deleted x.y.z tag keeps its row, so that it cannot come back with other bytes.
    Column("deleted", Boolean, nullable=False, default=False),
)

# Every name of a pipeline ever published in a repository, and whose it is. Never deleted.
PIPELINE_NAMES = Table(
    "pipeline_names",
    METADATA,
    Column("repository", String(127), primary_key=True),
    Column("package", String(128), primary_key=True),
    # Who published it first
    Column("owner", String(120), nullable=False),
    # Whose the name is; NULL: the owner's, who has no team.
    Column("team", String(63)),
    Column("published_at", String(27), nullable=False),
)

# What is derived from a file's bytes alone, so that nobody parses it again; may be made anew.
PIPELINE_SHAPES = Table(
    "pipeline_shapes",
    METADATA,
    Column("digest", String(71), primary_key=True),
    # Of what it does, whatever its components are called: how other pipelines contain it.
    Column("content_digest", String(71), nullable=False),
    Column("interface_digest", String(71), nullable=False),
)

# Which pipelines, by content digest, the pipeline of a file contains at any depth.
PIPELINE_PARTS = Table(
    "pipeline_parts",
    METADATA,
    Column("digest", String(71), primary_key=True),
    Column("part", String(71), primary_key=True),
    Index(None, "part"),
)

# What people call a pipeline and its versions, where that cannot be a package or a tag.
PIPELINE_TITLES = Table(
    "pipeline_titles",
    METADATA,
    Column("repository", String(127), primary_key=True),
    Column("package", String(128), primary_key=True),
    # Empty: of the package itself.
    Column("digest", String(71), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("changed_by", String(120), nullable=False),
    Column("changed_at", String(27), nullable=False),
)

# Every name ever published here: who owns it, and whether it is a model's. Never deleted.
PACKAGE_NAMES = Table(
    "package_names",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", String(120), nullable=False),
    Column("published_at", String(27), nullable=False),
    # Whose the name is; NULL: the owner's, who has no team.
    Column("team", String(63)),
)

PACKAGE_FILES = Table(
    "package_files",
    METADATA,
    Column("environment", String(63), primary_key=True),
    Column("filename", String(255), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("version", String(64), nullable=False),
    Column("digest", String(71), nullable=False),
    # SQLite's integers are as large as they need to be.
    Column("size_bytes", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
    Column("requires_python", String(200)),
    Column("metadata_digest", String(71), nullable=False),
    Column("uploaded_by", String(120), nullable=False),
    Column("uploaded_at", String(27), nullable=False),
    Index(None, "environment", "name"),
)

# Versions that installers are to pass over (PEP 592), in every environment's index. The row stays
# when that is taken back; `changes` counts how often either was done.
PACKAGE_YANKS = Table(
    "package_yanks",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("is_yanked", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("changed_by", String(120), nullable=False),
    Column("changed_at", String(27), nullable=False),
)

MODEL_VERSIONS = Table(
    "model_versions",
    METADATA,
    Column("model", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("filename", String(255), nullable=False),
    Column("wheel_digest", String(71), nullable=False),
    Column("payload_digest", String(71), nullable=False),
    Column("statement_digest", String(71), nullable=False),
    Column("run_id", String(36), nullable=False),
    # What seamline.toml declares: the model itself, or what has one model per scenario.
    Column("family", String(128), nullable=False),
    # model.json, as it stands in the wheel
    Column("document", Text, nullable=False),
    Column("dataset_versions", Text, nullable=False),
    Column("registered_by", String(120), nullable=False),
    Column("registered_at", String(27), nullable=False),
    Index(None, "wheel_digest"),
    Index(None, "payload_digest"),
    Index(None, "run_id"),
    Index(None, "family"),
)

# The thin twin of a model's wheel: made of its bytes alone, and never changed after.
THIN_WHEELS = Table(
    "thin_wheels",
    METADATA,
    Column("wheel_digest", String(71), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("metadata_digest", String(71), nullable=False),
)
