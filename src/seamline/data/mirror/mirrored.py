"""A mirrored version: its rows as a delivery, and the record of what it was made from."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from seamline.data.declaration import DAY, DatasetDeclaration, Mode
from seamline.data.mirror.mask import (
    LEAST_KEY_BYTES,
    check_recipe,
    is_sampled,
    mask_frame,
    shuffle_values,
)
from seamline.data.mirror.recipe import Mask, MirrorDeclaration
from seamline.data.sources.batches import Delivery
from seamline.data.versions.find import find_version
from seamline.data.versions.read import empty_frame, read_frames
from seamline.data.versions.version import DatasetVersion
from seamline.domain.data_facts import DatasetMirrored
from seamline.domain.digests import short
from seamline.domain.errors import InvalidInput
from seamline.measure.contracts.terms import Policy
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores
from seamline.trust.secrets import SecretKind, read_value

#: The key of the recipe's secret.
SECRET_KEY = "key"


@dataclass(frozen=True)
class Mirrored:
    """What a mirrored version was made from, and how."""

    version: DatasetVersion
    source: DatasetVersion
    recipe: MirrorDeclaration


def mirror_declaration(declared: DatasetDeclaration, name: str) -> DatasetDeclaration:
    """Of the mirrored dataset: each mirroring is the whole table anew, and has no source but the
    other environment. What the source's contract allowed is only told, not refused."""
    recipe = declared.mirror or MirrorDeclaration()
    gone = {column for column, mask in recipe.mask.items() if mask is Mask.DROP}
    return DatasetDeclaration(
        name,
        time=declared.time,
        zone=declared.zone,
        date=declared.date,
        keys=declared.keys,
        label=None if declared.label in gone else declared.label,
        mode=Mode.REPLACE,
        partition=declared.partition,
        on_breach=Policy.WARN,
    )


def mirror_delivery(
    stores: Stores,
    version: DatasetVersion,
    declared: DatasetDeclaration,
    recipe: MirrorDeclaration,
    environment: str,
) -> Delivery:
    """The version's rows, sampled and masked; each batch is read when it is asked for."""
    columns = [name for name, _ in version.schema]
    if DAY in declared.named_columns:  # it is the rows' own
        columns.append(DAY)
    check_recipe(recipe, declared, columns)
    key = _key(stores, recipe, environment)
    keys = list(recipe.keys or declared.keys or columns)
    reading = _Reading(stores, version, recipe, key, keys, columns)
    named = {"mirror": version.digest, "recipe": recipe.digest, "key": _fingerprint(key)}
    return Delivery(
        name=f"mirror of {version.reference} by recipe {short(recipe.digest)}",
        digest=digest_of_json(named),
        schema=reading.schema(),
        batches=reading.batches,
    )


@dataclass(frozen=True)
class _Reading:
    stores: Stores
    version: DatasetVersion
    recipe: MirrorDeclaration
    key: bytes
    keys: list[str]
    columns: list[str]

    def schema(self) -> pl.Schema:
        empty = empty_frame(self.version).select(self.columns)
        return mask_frame(empty, self.recipe, self.key, dict(empty.to_dict())).schema

    def batches(self) -> Iterator[pl.DataFrame]:
        shuffled, at = self._shuffled(), 0
        for frame in self._sampled(self.columns):
            own = {name: series.slice(at, frame.height) for name, series in shuffled.items()}
            at += frame.height
            if frame.height:
                yield mask_frame(frame, self.recipe, self.key, own)

    def _shuffled(self) -> dict[str, pl.Series]:
        """Of the sample as a whole: within a small day a shuffled value might stay where it was."""
        names = [name for name, mask in self.recipe.mask.items() if mask is Mask.SHUFFLE]
        if not names:
            return {}
        needed = list(dict.fromkeys((*names, *self.keys)))
        whole = pl.concat([empty_frame(self.version).select(needed), *self._sampled(needed)])
        return {name: shuffle_values(whole[name], self.key) for name in names}

    def _sampled(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        for frame in read_frames(self.stores, self.version, columns):
            yield frame.filter(is_sampled(frame, self.keys, self.recipe))


def record_mirror(stores: Stores, made: Mirrored, *, by: str) -> None:
    """Once per version, however often it is asked."""
    recipe = stores.blobs.put(canonical_json(made.recipe.to_json()))
    with stores.db.transaction() as tx:
        name = made.version.dataset
        before = read_facts(tx, kinds=[DatasetMirrored.kind], subject=name)
        if _fact_of(before, made.version) is None:
            fact = DatasetMirrored(
                name,
                made.version.version,
                made.version.digest,
                made.source.reference,
                made.source.digest,
                recipe,
            )
            stores.facts.append(tx, fact, by=by)


def find_mirrored(stores: Stores, version: DatasetVersion) -> Mirrored | None:
    """What it was made from; None when it is no mirror."""
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=[DatasetMirrored.kind], subject=version.dataset)
    body = _fact_of(facts, version)
    if body is None:
        return None
    what = f"the recipe of {version.reference}"
    recipe = MirrorDeclaration.from_json(json.loads(stores.blobs.get(body["recipe_digest"], what)))
    return Mirrored(version, find_version(stores, body["source"]), recipe)


def _fact_of(facts: Sequence[RecordedFact], version: DatasetVersion) -> dict[str, Any] | None:
    named = (version.dataset, version.version)
    bodies = (fact.body for fact in facts)
    return next((one for one in bodies if (one["dataset"], one["version"]) == named), None)


def _key(stores: Stores, recipe: MirrorDeclaration, environment: str) -> bytes:
    if recipe.secret is None:
        return b""
    key = read_value(stores, environment, SecretKind.SECRET, recipe.secret, SECRET_KEY)
    if len(key) < LEAST_KEY_BYTES:
        raise InvalidInput(
            f"The key {SECRET_KEY} of the secret {recipe.secret!r} ({environment}) has "
            f"{len(key)} bytes: hashes with it could be undone by trying.",
            next_step=f"Set one of {LEAST_KEY_BYTES} bytes or more, at random.",
        )
    return key


def _fingerprint(key: bytes) -> str:
    """With another key the same rows are another delivery."""
    return hmac.new(key, b"seamline mirror", hashlib.sha256).hexdigest()[:16]
