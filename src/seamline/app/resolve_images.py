"""Which digests the images of a published pipeline stand for; kept beside it, never inside it.

Only container components count: lightweight components run in processes forked from a warm
interpreter, where the image that they name is not used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.domain.errors import DigestMismatch, NotFound, Refused, SeamlineError, Unavailable
from seamline.register.images.references import (
    MAX_REFERENCE,
    ImageReference,
    images_decided_at_start,
    images_of,
    parse_image,
)
from seamline.register.images.registries import passwords_from, resolve_image
from seamline.register.images.rows import PIPELINE_IMAGES
from seamline.register.pipelines.ir_file import load_ir
from seamline.store.facts import RecordedFact
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.train.ir.claims import claim_function
from seamline.train.ir.lightweight import recognise_function


@dataclass(frozen=True)
class LookedUp:
    """`digest` None: it could not be looked up, and `note` says why."""

    reference: str
    digest: str | None
    note: str
    looked_up_at: str


def on_pipeline_published(platform: Platform, fact: RecordedFact) -> None:
    """A registry that does not answer is noted: it refuses nothing before there is a release."""
    with suppress(NotFound, DigestMismatch):  # whoever uses those bytes is told
        look_up_images(platform.stores, fact.body["digest"])


def list_images(stores: Stores, pipeline: str) -> list[LookedUp]:
    """By the digest of the pipeline; what was found when it was looked up last."""
    query = select(
        PIPELINE_IMAGES.c.reference,
        PIPELINE_IMAGES.c.digest,
        PIPELINE_IMAGES.c.note,
        PIPELINE_IMAGES.c.looked_up_at,
    ).where(PIPELINE_IMAGES.c.pipeline == pipeline)
    with stores.db.read() as connection:
        rows = connection.execute(query.order_by(PIPELINE_IMAGES.c.reference))
        return [LookedUp(*row) for row in rows]


def look_up_images(stores: Stores, pipeline: str) -> list[LookedUp]:
    """Asks registries for what has no digest yet: one that has keeps it."""
    named = images_of(_document(stores, pipeline), _runs_in_its_image)
    known = {one.reference for one in list_images(stores, pipeline) if one.digest is not None}
    wanted = [one for one in named if one not in known and len(one) <= MAX_REFERENCE]
    if wanted:
        _record(stores, pipeline, _resolve_all(wanted, iso(stores.clock.now())))
    return list_images(stores, pipeline)


def pin_images(stores: Stores, pipeline: str, what: str) -> list[tuple[ImageReference, str]]:
    """Every image with its digest, for a release. Refused, naming those that have none."""
    undecided = images_decided_at_start(_document(stores, pipeline), _runs_in_its_image)
    missing = [f"{image} (known only when its task starts)" for image in undecided]
    found = look_up_images(stores, pipeline)
    listed = {one.reference for one in found}
    named = images_of(_document(stores, pipeline), _runs_in_its_image)
    missing += [f"{image[:80]} (no reference)" for image in named if image not in listed]
    missing += [f"{one.reference} ({one.note})" for one in found if one.digest is None]
    if missing:
        raise Refused(
            f"A release names images by digest; {what} has some without: {', '.join(missing)}.",
            next_step="Make their registry answer and try again, or compile the pipeline with "
            "NAME@sha256:… as its image.",
        )
    return [(parse_image(one.reference), one.digest) for one in found if one.digest is not None]


def _document(stores: Stores, pipeline: str) -> dict[str, Any]:
    return load_ir(stores.blobs.get(pipeline, "pipeline"))


def _runs_in_its_image(image: str, command: Sequence[str], args: Sequence[str]) -> bool:
    if claim_function(image) is not None:
        return False
    try:
        return recognise_function(command, args) is None
    except (SeamlineError, ValueError):  # nothing that runs here, but it names an image
        return True


def _resolve_all(references: Sequence[str], at: str) -> list[LookedUp]:
    """A registry that does not answer is not asked again for the next image."""
    passwords, silent, found = passwords_from(os.environ), dict[str, str](), list[LookedUp]()
    for text in references:
        digest, note, registry = None, "", ""
        try:
            parsed = parse_image(text)
            registry = parsed.registry
            if registry in silent:
                note = silent[registry]
            else:
                digest = resolve_image(parsed, passwords)
        except SeamlineError as error:
            note = error.message
            if isinstance(error, Unavailable):
                silent[registry] = note
        found.append(LookedUp(text, digest, note, at))
    return found


def _record(stores: Stores, pipeline: str, found: Sequence[LookedUp]) -> None:
    table = PIPELINE_IMAGES.c
    with stores.db.transaction() as tx:
        # One after the other: publishing and a release may look at the same moment.
        tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()
        for one in found:
            here = (table.pipeline == pipeline, table.reference == one.reference)
            kept = select(table.digest).where(*here)
            if tx.execute(kept).scalar_one_or_none() is None:
                tx.execute(delete(PIPELINE_IMAGES).where(*here))
                tx.execute(insert(PIPELINE_IMAGES).values(pipeline=pipeline, **one.__dict__))
