"""A training run has succeeded: what it made becomes a release, where a seamline.toml says so."""

from __future__ import annotations

from collections.abc import Iterator

from seamline.app.declarations import ModelDeclaration, ReleaseDeclaration, family_of
from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.app.register.run_models import find_source, list_made_models, list_members
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.domain.states import RunState
from seamline.evaluate.backtests import is_training_run
from seamline.promote.environments import TRAINING
from seamline.promote.release import next_alias, refuse_release
from seamline.register.models.catalogue import list_model_versions
from seamline.retrain.retrainings import list_retrainings
from seamline.store.facts import RecordedFact
from seamline.train.runs import show_request

#: What would say the same again.
_FINAL = (InvalidInput, NotFound, Refused, Conflict, DigestMismatch)


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """Comes after packaging. Safe to do again: a release is what it holds."""
    stores, body = platform.stores, fact.body
    if body["environment"] != TRAINING:
        return
    declared = [
        one for one in platform.declarations().releases.values() if one.pipeline == body["pipeline"]
    ]
    if not declared or _is_retraining(platform, body["run_id"]):
        return
    by = show_request(stores, body["run_id"])["requested_by"]
    for one in declared:
        try:
            if body["state"] != RunState.SUCCEEDED:
                # What is missing would be missed where the release before it is live.
                raise Refused(
                    f"[releases.{one.name}]: run {body['run_id']} ended as {body['state']}.",
                    next_step="Retry what failed, or make a release of the rest: "
                    "seamline release create.",
                )
            models = _models(platform, one, body["run_id"])
            with stores.db.read() as connection:
                alias = next_alias(connection, one.name)
            make_release(platform, alias, models, one.pipelines, by=by, caused_by=fact.id)
        except _FINAL as error:
            refuse_release(stores, one.name, body["run_id"], str(error), caused_by=fact.id)


def _is_retraining(platform: Platform, run_id: str) -> bool:
    """Its candidate is compared first, and released if it wins; a back-test's is never."""
    if is_training_run(platform.stores, run_id):
        return True
    return any(run_id in (one["id"], one["run_id"]) for one in list_retrainings(platform.stores))


def _models(platform: Platform, declared: ReleaseDeclaration, run_id: str) -> list[str]:
    """NAME@VERSION of what the run has made of the wanted models; Refused where one is not there.

    Of a family, those whose scenario has come to a model; one from the cache is the version that
    was trained by the earlier run.
    """
    models = platform.declarations().models
    wanted = set(declared.models) or {
        name for name, one in models.items() if one.pipeline == declared.pipeline
    }
    found: dict[str, str] = {}
    missing = {one for one in wanted if family_of(one, models) is None}
    for name, declaration in models.items():
        mine = {one for one in wanted if family_of(one, models) == name}
        if not mine:
            continue
        made = dict(_made(platform, declaration, run_id))
        missing |= mine - made.keys() - ({name} if made else set())
        asked = made if name in mine else {one: made[one] for one in mine & made.keys()}
        missing |= {member for member, version in asked.items() if version is None}
        found |= {member: version for member, version in asked.items() if version is not None}
    if missing or not found:
        raise Refused(
            f"[releases.{declared.name}]: run {run_id} has no packaged model "
            f"{', '.join(sorted(missing or wanted)) or 'at all'}.",
            next_step=f"See what became of its models: seamline model list --run {run_id}.",
        )
    return [f"{model}@{version}" for model, version in sorted(found.items())]


def _made(
    platform: Platform, declaration: ModelDeclaration, run_id: str
) -> Iterator[tuple[str, str | None]]:
    """Each model's name, and the version that the run's output is."""
    stores = platform.stores
    source = find_source(stores, declaration, run_id)
    made, _ = list_made_models(stores, source, list_members(stores, source).named)
    for one in made:
        trained_by = (run_id, one.member.round.cached_run)
        versions = (
            version.version
            for version in list_model_versions(stores, one.member.name)
            if version.payload_digest == one.artifact.digest and version.run_id in trained_by
        )
        yield one.member.name, next(versions, None)
