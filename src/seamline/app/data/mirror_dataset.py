"""Data of one environment for another: sampled, masked, and held against its source."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, take_in
from seamline.data.mirror.likeness import Likeness, check_likeness
from seamline.data.mirror.mirrored import (
    Mirrored,
    find_mirrored,
    mirror_declaration,
    mirror_delivery,
    record_mirror,
)
from seamline.data.versions.find import find_version
from seamline.domain.errors import InvalidInput, NotFound, Refused, not_found
from seamline.promote.environments import TRAINING, list_environments


def dataset_of(name: str, environment: str) -> str:
    """Each environment has tables of its own.

    >>> dataset_of("flights", "dataops"), dataset_of("flights", "staging")
    ('flights', 'flights-staging')
    """
    return name if environment == TRAINING else f"{name}-{environment}"


def mirror_dataset(
    platform: Platform, name: str, source: str, target: str, *, by: str
) -> dict[str, Any]:
    """The target's newest version afterwards, and how like its source it is. The same version with
    the same recipe and key is mirrored once."""
    stores = platform.stores
    declared = _declared(platform, name)
    recipe = declared.mirror
    if recipe is None:
        raise Refused(
            f"Dataset {name} declares no mirror: nothing says which of its columns may leave "
            f"{source}.",
            next_step=f"Write [datasets.{name}.mirror] in seamline.toml and apply it.",
        )
    _check_environments(platform, source, target)
    version = find_version(stores, dataset_of(name, source))
    delivery = mirror_delivery(stores, version, declared, recipe, source)
    declaration = mirror_declaration(declared, dataset_of(name, target))
    taken = take_in(stores, declaration, delivery, Bringer(by))
    made = Mirrored(taken.version, version, recipe)
    record_mirror(stores, made, by=by)
    likeness = check_likeness(stores, made, declared)
    return {
        **taken.version.to_json(),
        "is_new": taken.is_new,
        "mirror_of": version.reference,
        "recipe_digest": recipe.digest,
        "likeness": likeness.to_json(),
    }


def check_mirror(platform: Platform, name: str, environment: str) -> Likeness:
    """Of the environment's newest version of the dataset: what a gate asks before staging is taken
    for production. Raises NotFound when there is none, or it is no mirror."""
    declared = _declared(platform, name)
    version = find_version(platform.stores, dataset_of(name, environment))
    made = find_mirrored(platform.stores, version)
    if made is None:
        raise NotFound(
            f"{version.reference} was not mirrored from another environment.",
            next_step=f"Mirror it: seamline data mirror {name} production→{environment}.",
        )
    return check_likeness(platform.stores, made, declared)


def _declared(platform: Platform, name: str) -> DatasetDeclaration:
    return platform.declarations().dataset(name)


def _check_environments(platform: Platform, source: str, target: str) -> None:
    with platform.stores.db.read() as connection:
        known = [one.name for one in list_environments(connection)]
    for environment in (source, target):
        if environment not in known:
            raise not_found("environment", environment, known)
    if source == target or target == TRAINING:
        raise InvalidInput(
            f"{source} is not mirrored to {target}.",
            next_step="Mirror to another environment than dataops: production→staging, for one.",
        )
