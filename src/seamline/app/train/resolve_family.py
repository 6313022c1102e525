"""`models://FAMILY`: all models of a family, as one folder of verified packages and a list of them.

Pinned by that list's digest, so that a run that goes on, or is asked again, has the same models
whatever was trained meanwhile.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from seamline.app.register.verify_artifact import require_model
from seamline.domain.clock import new_id
from seamline.domain.digests import parse_digest
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.promote.environments import TRAINING, list_environments, live_release
from seamline.promote.release import StoredRelease
from seamline.register.models.catalogue import ModelVersion, list_model_versions
from seamline.store.canonical import canonical_json
from seamline.store.stores import Stores
from seamline.train.context import ResolvedArtifact

#: In the folder: {family, keys, models: [{key, model, version, module, file, digest}]}.
LISTED = "family.json"
_PINNED = "sha256:"


def is_family(stores: Stores, name: str) -> bool:
    return not list_model_versions(stores, name) and bool(list_model_versions(stores, family=name))


def resolve_family(
    stores: Stores, name: str, alias: str | None, environment: str, here: StoredRelease | None
) -> ResolvedArtifact:
    """`alias`: an environment's name, or the digest by which it was pinned; None: the newest of
    each model, outside of dataops those of `here`, the release that admits the run."""
    versions = list_model_versions(stores, family=name)
    if alias is not None and alias.startswith(_PINNED):
        digest = parse_digest(alias)
        listed = json.loads(stores.blobs.get(digest, f"models of {name}"))
        members = _listed(name, listed, versions)
    else:
        members = _members(stores, name, versions, alias, environment, here)
        listed = _list(name, members)
        digest = stores.blobs.put(canonical_json(listed))
    if environment != TRAINING:
        _check_held(name, members, here)
    metadata = {"model": name, "n_models": len(members), "family": True}
    uri = f"models://{name}@{digest}"
    return ResolvedArtifact(_lay_out(stores, digest, listed, members), digest, metadata, uri)


def _members(
    stores: Stores,
    name: str,
    versions: list[ModelVersion],
    alias: str | None,
    environment: str,
    here: StoredRelease | None,
) -> list[ModelVersion]:
    with stores.db.read() as connection:
        known = {one.name for one in list_environments(connection)}
        asked = alias if alias is not None else environment
        if asked not in known | {environment}:
            raise InvalidInput(
                f"models://{name}@{alias}: a family has no version of its own.",
                next_step=f"Name one of its models, or models://{name}, or an environment: "
                f"{', '.join(sorted(known))}.",
            )
        release = here if asked == environment else live_release(connection, asked)
    if asked == TRAINING:
        newest = dict[str, ModelVersion]()
        for one in versions:
            newest.setdefault(one.model, one)
        return list(newest.values())
    held = {} if release is None else {(p.name, p.version): p for p in release.release.packages}
    members = [one for one in versions if (one.model, one.version) in held]
    if release is None or not members:
        told = "no release is live" if release is None else f"release {release.alias} holds none"
        raise Refused(
            f"No model of {name} is live in {asked}: {told}.",
            next_step="Make a release that holds them, and promote that.",
        )
    for one in members:
        pinned = held[one.model, one.version].digest
        if one.wheel_digest != pinned:
            what = f"package {one.model} {one.version} of release {release.alias}"
            raise DigestMismatch(what, expected=pinned, actual=one.wheel_digest)
    return members


def _listed(name: str, listed: dict[str, Any], versions: list[ModelVersion]) -> list[ModelVersion]:
    """As they were when it was pinned."""
    known = {one.wheel_digest: one for one in versions}
    wanted = [one["digest"] for one in listed.get("models", ())]
    if listed.get("family") != name or not set(wanted) <= known.keys():
        raise Refused(
            f"The list of models by which models://{name} was pinned is not this family's.",
            next_step=f"Run it again with models://{name}.",
        )
    return [known[digest] for digest in wanted]


def _check_held(name: str, members: list[ModelVersion], here: StoredRelease | None) -> None:
    """Law 4."""
    held = set() if here is None else {one.digest for one in here.release.packages}
    foreign = [one for one in members if one.wheel_digest not in held]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        release = "no release is live that" if here is None else f"release {here.alias} does not"
        verb = "holds" if here is None else "hold"
        raise Refused(
            f"models://{name} cannot be used here: {release} {verb} {foreign[0].model} "
            f"{foreign[0].version}{more}.",
            next_step="Make a release that holds them, and promote that.",
        )


def _list(name: str, members: list[ModelVersion]) -> dict[str, Any]:
    keys = list(members[0].scenario)
    for one in members:
        if set(one.scenario) != set(keys):
            raise InvalidInput(
                f"{one.model} {one.version} is told apart by {', '.join(one.scenario) or 'nothing'}"
                f", {members[0].model} {members[0].version} by {', '.join(keys) or 'nothing'}.",
                next_step="Train them again, all by one version of the pipeline.",
            )
    models = [
        {
            "key": [one.scenario[key] for key in keys],
            "model": one.model,
            "version": one.version,
            "module": one.module,
            "file": one.filename,
            "digest": one.wheel_digest,
        }
        for one in sorted(members, key=lambda one: one.model)
    ]
    return {"family": name, "keys": keys, "models": models}


def _lay_out(
    stores: Stores, digest: str, listed: dict[str, Any], members: list[ModelVersion]
) -> Path:
    """Copied anew each time: what lies there may have been altered since."""
    folder = stores.root / "cache" / "families" / digest.removeprefix(_PINNED)
    folder.mkdir(parents=True, exist_ok=True)
    for one in members:
        require_model(stores, one)
        what = f"package {one.model} {one.version}"
        partial = folder / f".{new_id(stores.clock)}.partial"  # two tasks may want it at once
        shutil.copyfile(stores.blobs.verified_path(one.wheel_digest, what), partial)
        partial.replace(folder / one.filename)
    partial = folder / f".{new_id(stores.clock)}.partial"
    partial.write_bytes(canonical_json(listed))
    partial.replace(folder / LISTED)
    return folder
