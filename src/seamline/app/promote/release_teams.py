"""Whose things a release holds: its pipelines' and its models' teams."""

from __future__ import annotations

from collections.abc import Iterable

from seamline.app.declarations import family_of
from seamline.app.platform import Platform
from seamline.promote.release import Release
from seamline.register.owners import PACKAGES, list_owned_names
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY


def teams_of(platform: Platform, *releases: Release) -> frozenset[str | None]:
    """None among them: something is a person's, or nobody's any more."""
    return teams_of_names(
        platform,
        [pin.name for one in releases for pin in one.packages],
        [pin.name for one in releases for pin in one.pipelines],
    )


def teams_of_names(
    platform: Platform, models: Iterable[str], pipelines: Iterable[str]
) -> frozenset[str | None]:
    """A model belongs to the project that declares it, a pipeline to whoever published it first."""
    owned = list_owned_names(platform.stores)
    published = {one.name: one.owner.team for one in owned if one.registry == DEFAULT_REPOSITORY}
    uploaded = {one.name: one.owner.team for one in owned if one.registry == PACKAGES}
    declared = platform.declarations()

    def of_model(name: str) -> str | None:
        family = family_of(name, declared.models)
        return uploaded.get(name) if family is None else declared.team_of[f"models.{family}"]

    return frozenset({*map(of_model, models), *map(published.get, pipelines)})
