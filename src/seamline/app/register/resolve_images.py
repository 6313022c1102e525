"""Which digests the images of a published pipeline stand for; kept beside it, never inside it.

What was found is what its tasks start, wherever the tag has moved since. Only container components
count: lightweight components run in processes forked from a warm interpreter, where the image that
they name is not used, unless a run asks for that (isolation container).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from seamline.app.platform import Platform
from seamline.app.register.verify_artifact import stated_digests
from seamline.domain.clock import iso
from seamline.domain.errors import (
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.promote.environments import TRAINING, live_release
from seamline.promote.release import StoredRelease, find_release
from seamline.register.images.references import (
    MAX_REFERENCE,
    Counts,
    ImageReference,
    images_decided_at_start,
    images_of,
    parse_image,
    with_digest,
)
from seamline.register.images.registries import passwords_from, resolve_image
from seamline.register.images.rows import PIPELINE_IMAGES
from seamline.register.pipelines.ir_file import load_ir
from seamline.register.statements import state_image
from seamline.store.facts import RecordedFact
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.train.context import RunContext
from seamline.train.ir.claims import claim_function
from seamline.train.ir.lightweight import recognise_function
from seamline.train.runs import find_run_row
from seamline.trust.image_statements import image_subject
from seamline.trust.signing import find_statements


@dataclass(frozen=True)
class LookedUp:
    """`digest` None: it could not be looked up, and `note` says why."""

    reference: str
    digest: str | None
    note: str
    looked_up_at: str


def runs_in_its_image(image: str, command: Sequence[str], args: Sequence[str]) -> bool:
    if claim_function(image) is not None:
        return False
    try:
        return recognise_function(command, args) is None
    except (SeamlineError, ValueError):  # nothing that runs here, but it names an image
        return True


def on_pipeline_published(platform: Platform, fact: RecordedFact) -> None:
    """A registry that does not answer is noted: it refuses nothing before there is a release."""
    with suppress(NotFound, DigestMismatch, Refused):  # whoever uses those bytes is told
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


def look_up_images(
    stores: Stores, pipeline: str, counts: Counts = runs_in_its_image
) -> list[LookedUp]:
    """Asks registries for what has no digest yet: one that has keeps it, and a statement says so.

    A digest without one is of before there were these statements, or nobody's: asked for anew.
    DigestMismatch where one is not what was stated.
    """
    named = images_of(_document(stores, pipeline), counts)
    stated, at = stated_digests(stores, pipeline), iso(stores.clock.now())
    noted = {one.reference: one.digest for one in list_images(stores, pipeline)}
    for reference, digest in noted.items():
        _check_noted(reference, digest, stated.get(reference))
    wanted = [one for one in named if one not in stated and len(one) <= MAX_REFERENCE]
    lost = [one for one in stated if noted.get(one) is None]
    found = [LookedUp(one, stated[one], "", at) for one in lost]
    found += _resolve_all(wanted, at) if wanted else []
    if found:
        _record(stores, pipeline, found)
    return list_images(stores, pipeline)


def pin_images(stores: Stores, pipeline: str, what: str) -> list[tuple[ImageReference, str]]:
    """Every image with its digest, for a release. Refused, naming those that have none.

    Of what lightweight components name, those that it names by digest: nothing else may run.
    """
    document = _document(stores, pipeline)
    undecided = images_decided_at_start(document, runs_in_its_image)
    missing = [f"{image} (known only when its task starts)" for image in undecided]
    named = images_of(document, runs_in_its_image)
    found = [one for one in look_up_images(stores, pipeline) if one.reference in named]
    listed = {one.reference for one in found}
    missing += [f"{image[:80]} (no reference)" for image in named if image not in listed]
    missing += [f"{one.reference} ({one.note})" for one in found if one.digest is None]
    stated = stated_digests(stores, pipeline)
    missing += [
        f"{one.reference} (nothing signed says that it is {one.digest})"
        for one in found
        if one.digest is not None and one.reference not in stated
    ]
    if missing:
        raise Refused(
            f"A release names images by digest; {what} has some without: {', '.join(missing)}.",
            next_step="Make their registry answer and try again, or compile the pipeline with "
            "NAME@sha256:… as its image.",
        )
    pinned = {one.reference: stated[one.reference] for one in found}
    for image in _named_by_digest(document):
        pinned.setdefault(image, image.partition("@")[2])
    return [(parse_image(image), digest) for image, digest in sorted(pinned.items())]


def inherit_images(stores: Stores, pipeline: str, other: str) -> None:
    """`other` is the same pipeline in a loop over scenarios: its tasks start the same images."""
    at = iso(stores.clock.now())
    stated = stated_digests(stores, pipeline)
    if stated:
        found = [LookedUp(reference, digest, "", at) for reference, digest in stated.items()]
        _record(stores, other, found)


def image_to_start(stores: Stores, context: RunContext, reference: str) -> str:
    """What a task of a run starts for the image that it names: by digest where one was found.

    DigestMismatch where that is not what was stated when it was found; Refused where nothing was.
    Outside dataops Refused unless the release that admitted the run holds it (law 4).
    """
    table = PIPELINE_IMAGES.c
    with stores.db.read() as connection:
        pipeline = find_run_row(connection, context.run_id).pipeline_digest
        here = (table.pipeline == pipeline, table.reference == reference)
        digest = connection.execute(select(table.digest).where(*here)).scalar_one_or_none()
        is_training = context.environment == TRAINING
        admitted_by = find_release(connection, context.release) if context.release else None
        live = None if is_training else live_release(connection, context.environment)
    stated = stated_digests(stores, pipeline).get(reference)
    _check_noted(reference, digest, stated)
    if digest is not None and stated is None and "@" not in reference:
        raise Refused(
            f"The image {reference} of {context.pipeline} is to start as {digest}, and no "
            "statement of this workspace says so.",
            next_step="Run the pipeline again by its name: its image is looked up and stated then.",
        )
    started = reference if stated is None else with_digest(reference, stated)
    if not is_training:
        what = f"The image {started} of {context.pipeline}"
        image = parse_image(started)
        if admitted_by is not None:
            _check_held(what, image, admitted_by, context.environment)
        else:
            _check_released(what, image, pipeline, live, context.environment)
    return started


def _check_noted(reference: str, noted: str | None, stated: str | None) -> None:
    if None not in (noted, stated) and noted != stated:
        raise DigestMismatch(f"The image {reference}", expected=str(stated), actual=str(noted))


def _check_held(what: str, image: ImageReference, release: StoredRelease, environment: str) -> None:
    if image.digest is None:
        raise _refused_image(what, environment, "it has no digest")
    if image.digest not in {pin.digest for pin in release.release.images}:
        why = f"release {release.alias}, which admitted the run, does not hold it"
        raise _refused_image(what, environment, why)


def _refused_image(what: str, environment: str, why: str) -> Refused:
    return Refused(
        f"{what} cannot run in {environment}: {why}.",
        next_step="Compile the pipeline with NAME@sha256:… as its image, and make and promote a "
        "release of that; or run its Python components without isolation container.",
    )


def _check_released(
    what: str,
    image: ImageReference,
    pipeline: str,
    live: StoredRelease | None,
    environment: str,
) -> None:
    """A run of before runs told which release admitted them: it goes on, with what was pinned."""
    is_of_live = live is not None and pipeline in {pin.digest for pin in live.release.pipelines}
    held = {pin.digest for pin in live.release.images} if live is not None and is_of_live else set()
    if image.digest is not None and (image.digest in held or not is_of_live):
        return
    why = "it has no digest" if image.digest is None else "the live release does not hold it"
    raise _refused_image(what, environment, why)


def _named_by_digest(document: Mapping[str, Any]) -> list[str]:
    found = []
    for image in images_of(document):
        try:
            if parse_image(image).digest is not None:
                found.append(image)
        except InvalidInput:  # nothing that an engine would start
            continue
    return found


def _document(stores: Stores, pipeline: str) -> dict[str, Any]:
    return load_ir(stores.blobs.get(pipeline, "pipeline"))


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
    """Of two that look at the same moment, the first one's digest is stated and stays. What is not
    found now does not take the place of what an earlier Seamline noted and never stated."""
    table = PIPELINE_IMAGES.c
    with stores.db.transaction() as tx:
        # One after the other: publishing and a release may look at the same moment.
        tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()
        stated = {one.subject for one in find_statements(tx, pipeline)}
        for one in found:
            here = (table.pipeline == pipeline, table.reference == one.reference)
            kept = tx.execute(select(table.digest).where(*here)).scalar_one_or_none()
            if kept is not None and (one.digest is None or image_subject(one.reference) in stated):
                continue
            tx.execute(delete(PIPELINE_IMAGES).where(*here))
            tx.execute(insert(PIPELINE_IMAGES).values(pipeline=pipeline, **one.__dict__))
            if one.digest is not None:
                state_image(stores, tx, pipeline, one.reference, one.digest)
