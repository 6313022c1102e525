"""What the image references of published pipelines stood for when they were looked up."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from seamline.store.schema import METADATA

PIPELINE_IMAGES = Table(
    "pipeline_images",
    METADATA,
    # Of the pipeline's file, whose own bytes are never changed.
    Column("pipeline", String(71), primary_key=True),
    Column("reference", String(400), primary_key=True),
    # NULL: it could not be looked up; `note` says why.
    Column("digest", String(71)),
    Column("note", Text, nullable=False),
    Column("looked_up_at", String(27), nullable=False),
)
