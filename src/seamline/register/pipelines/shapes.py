"""Shapes of pipeline files, kept by digest: what they contain is asked for again and again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select

from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.register.pipelines.interfaces import Interface, Shape, read_shape
from seamline.register.pipelines.ir_file import check_size, load_ir
from seamline.register.rows import PIPELINE_PARTS, PIPELINE_SHAPES, PIPELINE_VERSIONS
from seamline.store.stores import Stores


def shape_of(data: bytes) -> Shape:
    """InvalidInput when the file is no YAML, too large, or nests too deeply."""
    return shape_of_document(load_ir(data))


def shape_of_document(document: dict[str, Any]) -> Shape:
    check_size(document)
    try:
        return read_shape(document)
    except RecursionError:
        raise InvalidInput(
            "This is not a compiled pipeline: its components nest too deeply.",
            next_step="Compile it first: kfp.compiler.Compiler().compile(pipeline, file).",
        ) from None


def load_shape(stores: Stores, digest: str, what: str) -> Shape:
    """Of a stored file; its bytes are verified."""
    return shape_of(stores.blobs.get(digest, what))


def find_interface(connection: Connection, digest: str) -> str | None:
    """The digest of a file's interface, as it was found when it was published."""
    query = select(PIPELINE_SHAPES.c.interface_digest).where(PIPELINE_SHAPES.c.digest == digest)
    found: str | None = connection.execute(query).scalar()
    return found


def record_shape(tx: Connection, digest: str, shape: Shape) -> None:
    """Idempotent, since a digest has one shape."""
    known = select(PIPELINE_SHAPES.c.digest).where(PIPELINE_SHAPES.c.digest == digest)
    if tx.execute(known).first() is not None:
        return
    tx.execute(
        insert(PIPELINE_SHAPES).values(
            digest=digest,
            content_digest=shape.content_digest,
            interface_digest=shape.interface.digest,
        )
    )
    if shape.contains:
        parts = [{"digest": digest, "part": part} for part in sorted(shape.contains)]
        tx.execute(insert(PIPELINE_PARTS), parts)


def record_missing_shapes(stores: Stores) -> None:
    """Of what was published before there were shapes; reads nothing when all are there."""
    with stores.db.read() as connection:
        missing = _missing(connection)
    shapes = {digest: _shape_or_none(stores, digest) for digest in missing}
    if not shapes:
        return
    with stores.db.transaction() as tx:
        for digest in _missing(tx):
            if digest in shapes:
                record_shape(tx, digest, shapes[digest])


def _missing(connection: Connection) -> list[str]:
    joined = PIPELINE_VERSIONS.outerjoin(
        PIPELINE_SHAPES, PIPELINE_SHAPES.c.digest == PIPELINE_VERSIONS.c.digest
    )
    query = select(PIPELINE_VERSIONS.c.digest).select_from(joined).distinct()
    return list(connection.execute(query.where(PIPELINE_SHAPES.c.digest.is_(None))).scalars())


def _shape_or_none(stores: Stores, digest: str) -> Shape:
    """A file that cannot be read now would have to be looked at for ever: it contains nothing."""
    try:
        return load_shape(stores, digest, "pipeline")
    except SeamlineError:
        return Shape(Interface(), digest, frozenset())
