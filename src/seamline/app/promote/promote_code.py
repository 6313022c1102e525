"""An environment that takes over code: the release's training pipelines run in it, with its own
parameters and data, and a release of what they made is checked in the place of the first.

Runs have ids of the promotion's own, so each is started once, however often this is asked; when one
has ended it is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.app.evaluate.evaluate_model import EvaluationRequest, evaluate_model
from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import short
from seamline.domain.errors import NotFound, Refused
from seamline.domain.facts import RunEnded
from seamline.domain.states import RunState, is_terminal
from seamline.evaluate.evaluations import evaluations_of_pipelines
from seamline.promote.code import evaluation_run, record_retrained, training_run
from seamline.promote.environments import find_environment
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease, find_release
from seamline.register.models.catalogue import ModelVersion, list_model_versions
from seamline.register.names import normalised_package
from seamline.store.facts import RecordedFact
from seamline.store.outbox import list_undone
from seamline.train.runs import show_request

_EVALUATION = "evaluation"
#: A trigger fills in the window that raised its alarm; here there is none.
_WINDOW = "{window"


def retrain_in_place(
    platform: Platform, promotion: Promotion, fact: RecordedFact
) -> Promotion | None:
    """The promotion, once what goes live is trained and can be judged; None while that goes on.

    Refused where it cannot be.
    """
    stores = platform.stores
    if promotion.retrained is None:
        with stores.db.read() as connection:
            code = find_release(connection, promotion.release)
        made = _train(platform, promotion, code, fact)
        if made is None:
            return None
        runs = [training_run(promotion.id, pin.name) for pin in _training_pins(platform, code)]
        promotion = record_retrained(stores, promotion, made, runs, caused_by=fact.id)
    with stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        release = find_release(connection, promotion.goes_live)
    if _EVALUATION in policy.gates and not _evaluate(platform, promotion, release, fact):
        return None
    return promotion


def _train(
    platform: Platform, promotion: Promotion, code: StoredRelease, fact: RecordedFact
) -> StoredRelease | None:
    runs = {}
    for pin in _training_pins(platform, code):
        runs[training_run(promotion.id, pin.name)] = pin
    states = {
        run_id: _state_of(platform, promotion, code, pin, run_id, {}, fact)
        for run_id, pin in runs.items()
    }
    if not all(is_terminal(state) for state in states.values()):
        return None
    for run_id, state in states.items():
        if state is not RunState.SUCCEEDED:
            raise Refused(
                f"The training run {run_id} of {runs[run_id].name} in {promotion.environment} "
                f"ended as {state.replace('_', ' ')}."
            )
    undone = set(list_undone(platform.stores.db, RunEnded.kind, list(runs)))
    if undone - {fact.subject}:
        return None  # what they made is being packaged; their end comes here, too
    versions = [one for run in runs for one in list_model_versions(platform.stores, run_id=run)]
    _check_complete(code, versions, promotion)
    return make_release(
        platform,
        f"{code.alias[:60]}-{promotion.environment[:20]}-{promotion.id[-12:]}",
        [f"{one.model}@{one.version}" for one in versions],
        [f"{pin.name}@{pin.version}" for pin in code.release.pipelines],
        by=promotion.requested_by,
        caused_by=fact.id,
    )


def _training_pins(platform: Platform, code: StoredRelease) -> list[Pin]:
    """Of the release, those pipelines that a declared model comes from."""
    models = platform.declarations().models.values()
    train = {normalised_package(model.pipeline) for model in models}
    found = [pin for pin in code.release.pipelines if normalised_package(pin.name) in train]
    if not found:
        raise Refused(
            f"Release {code.alias} ({short(code.digest)}) names no training pipeline: there is no "
            "code to promote.",
            next_step="Make one that does: seamline release create ALIAS --pipeline NAME@TAG.",
        )
    return found


def _check_complete(
    code: StoredRelease, versions: list[ModelVersion], promotion: Promotion
) -> None:
    lacking = {pin.name for pin in code.release.packages} - {one.model for one in versions}
    if lacking or not versions:
        raise Refused(
            f"The training pipelines of {code.alias} made no {' and no '.join(sorted(lacking))}"
            f"{'' if lacking else 'model'} in {promotion.environment}.",
            next_step="See why: seamline run show RUN.",
        )


def _evaluate(
    platform: Platform, promotion: Promotion, release: StoredRelease, fact: RecordedFact
) -> bool:
    """Whether all is judged that can be: the gate tells what is not."""
    going = False
    for pin in release.release.packages:
        try:
            declared = platform.declarations().model(pin.name).evaluation
        except NotFound:
            continue
        predicting = _predicting_pin(release, declared)
        if declared is None or predicting is None:
            continue
        known = {predicting.digest}
        if evaluations_of_pipelines(platform.stores, pin.name, pin.version, known):
            continue
        run_id = evaluation_run(promotion.id, pin.name)
        arguments = _arguments(declared, pin)
        state = _state_of(platform, promotion, release, predicting, run_id, arguments, fact)
        if state is RunState.SUCCEEDED:
            request = EvaluationRequest(pin.name, pin.version, run_id)
            evaluate_model(platform, request, by=promotion.requested_by, caused_by=fact.id)
        elif not is_terminal(state):
            going = True
    return not going


def _predicting_pin(release: StoredRelease, declared: EvaluationDeclaration | None) -> Pin | None:
    wanted = normalised_package(declared.pipeline) if declared else ""
    pins = release.release.pipelines
    return next((pin for pin in pins if normalised_package(pin.name) == wanted), None)


def _arguments(declared: EvaluationDeclaration, pin: Pin) -> dict[str, str]:
    """What needs a window is left to the environment's parameters."""
    return {
        name: value.replace("{version}", pin.version).replace(
            "{data}", f"datasets://{declared.data}"
        )
        for name, value in declared.arguments.items()
        if _WINDOW not in value
    }


def _state_of(
    platform: Platform,
    promotion: Promotion,
    checking: StoredRelease,
    pin: Pin,
    run_id: str,
    arguments: Mapping[str, Any],
    fact: RecordedFact,
) -> RunState:
    """Of the run, which is started where it is not there yet."""
    try:
        return RunState(show_request(platform.stores, run_id)["state"])
    except NotFound:
        submit_pipeline(
            platform,
            f"{pin.name}@{pin.version}",
            arguments=arguments,
            environment=promotion.environment,
            by=promotion.requested_by,
            caused_by=fact.id,
            run_id=run_id,
            release=checking.digest,
        )
        return RunState.PENDING
