"""One retraining, from the alarm to a release that waits for approval (or is not made).

alarm → requested → training → packaging → comparing → released | kept | errored. Each step is
guarded by the phase it starts from and uses ids derived from the retraining's own, so doing it
again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from uuid import UUID, uuid5

from seamline.app.declarations import (
    Declarations,
    TriggerDeclaration,
)
from seamline.app.evaluate.declaration import EvaluationDeclaration
from seamline.app.evaluate.evaluate_model import EvaluationRequest, evaluate_model
from seamline.app.platform import Platform
from seamline.app.promote.make_release import make_release
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.domain.states import PromotionPhase, RunState, is_terminal
from seamline.evaluate.evaluations import find_evaluation
from seamline.monitor.windows import parse_window
from seamline.promote.environments import list_environments, live_release
from seamline.promote.promotion import list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.requests import request_promotion
from seamline.register.models.catalogue import find_version_of_run
from seamline.retrain.arguments import fill_arguments
from seamline.retrain.outcome import Comparison, decide_outcome
from seamline.retrain.phases import RetrainingPhase
from seamline.retrain.retrainings import (
    Retraining,
    advance_retraining,
    find_by_run,
    find_retraining,
    list_open,
    list_retrainings,
    request_retraining,
)
from seamline.retrain.triggers import Cause, Skip, Trigger
from seamline.store.facts import RecordedFact
from seamline.train.runs import show_run

#: What will say the same again, however often it is tried.
FINAL = (InvalidInput, NotFound, Refused, Conflict, DigestMismatch)
SIDES = ("candidate", "incumbent")


def on_alarm(platform: Platform, fact: RecordedFact) -> None:
    """Each trigger on this monitor decides: fire, or skip (one is open, or cooling down)."""
    declared = platform.declarations()
    undecided: list[str] = []
    for trigger in declared.triggers.values():
        if trigger.monitor != fact.body["monitor"]:
            continue
        try:
            decided = _decide(platform, declared, trigger, fact)
        except SeamlineError as error:
            undecided.append(f"{trigger.name}: {error}")
            continue
        if isinstance(decided, Skip) and not decided.is_final:
            undecided.append(f"{trigger.name}: {decided.reason}.")
    if undecided:
        # Asked again later: the outbox keeps the alarm until each can be decided.
        raise Unavailable(" ".join(undecided))


def _decide(
    platform: Platform, declared: Declarations, trigger: TriggerDeclaration, fact: RecordedFact
) -> Retraining | Skip:
    body, environment = fact.body, declared.monitor(trigger.monitor).environment
    return request_retraining(
        platform.stores,
        Trigger(
            trigger.name,
            trigger.monitor,
            trigger.checks,
            parse_duration_s(trigger.cool_down),
        ),
        Cause(fact.id, body["monitor"], body["check"], body["sentence"]),
        parse_window(body["window"]),
        model=trigger.model,
        incumbent_version=live_version(platform, environment, trigger.model),
        by=declared.owners.get(f"triggers.{trigger.name}", platform.owner),
        arguments=trigger.arguments,
    )


def start_retraining(platform: Platform, fact: RecordedFact) -> None:
    retraining = find_retraining(platform.stores, fact.body["retraining_id"])
    if retraining.phase is not RetrainingPhase.REQUESTED:
        return
    trigger = platform.declarations().triggers.get(retraining.trigger)
    try:
        if trigger is None:
            raise NotFound(f"The trigger {retraining.trigger} is no longer declared.")
        run_id = submit_pipeline(
            platform,
            f"{trigger.pipeline}@{trigger.tag}",
            arguments=retraining.arguments,
            by=retraining.requested_by,
            caused_by=fact.id,
            run_id=retraining.id,
        )
    except FINAL as error:
        _error(platform, retraining, str(error), fact)
        return
    advance_retraining(
        platform.stores,
        retraining.id,
        RetrainingPhase.REQUESTED,
        RetrainingPhase.TRAINING,
        by=retraining.requested_by,
        run_id=run_id,
        caused_by=fact.id,
    )


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """The training run of a retraining, or one of the two runs that compare."""
    run_id = fact.body["run_id"]
    retraining = find_by_run(platform.stores, run_id)
    if retraining is None and run_id in {one["id"] for one in list_retrainings(platform.stores)}:
        # The run was quicker than the note that it belongs to the retraining.
        retraining = find_retraining(platform.stores, run_id)
    try:
        if retraining is not None:
            _after_training(platform, retraining, fact)
            return
        for one in list_open(platform.stores, RetrainingPhase.COMPARING):
            if run_id in _comparison_runs(one).values():
                _after_comparison(platform, one, fact)
    except FINAL as error:
        found = retraining or one
        _error(platform, find_retraining(platform.stores, found.id), str(error), fact)


def _after_training(platform: Platform, retraining: Retraining, fact: RecordedFact) -> None:
    stores, by = platform.stores, retraining.requested_by
    step = {"by": by, "caused_by": fact.id}
    if retraining.phase is RetrainingPhase.REQUESTED:
        retraining = advance_retraining(
            stores,
            retraining.id,
            retraining.phase,
            RetrainingPhase.TRAINING,
            run_id=fact.body["run_id"],
            **step,
        )
    if retraining.phase is RetrainingPhase.TRAINING:
        if fact.body["state"] != RunState.SUCCEEDED:
            failed = ", ".join(fact.body["failed_tasks"]) or fact.body["state"]
            raise Refused(f"the training run {fact.body['run_id']} did not succeed: {failed}")
        retraining = advance_retraining(
            stores, retraining.id, retraining.phase, RetrainingPhase.PACKAGING, **step
        )
    if retraining.phase is RetrainingPhase.PACKAGING:
        version = find_version_of_run(stores, retraining.model, fact.body["run_id"])
        if version is None:
            raise Refused(f"{retraining.model} of run {fact.body['run_id']} was not packaged")
        retraining = advance_retraining(
            stores,
            retraining.id,
            retraining.phase,
            RetrainingPhase.COMPARING,
            candidate_version=version.version,
            **step,
        )
    if retraining.phase is RetrainingPhase.COMPARING:
        _start_comparison(platform, retraining, fact)


def _start_comparison(platform: Platform, retraining: Retraining, fact: RecordedFact) -> None:
    """Both versions predict the rows of the window that raised the alarm."""
    declared = _evaluation(platform, retraining)
    runs = _comparison_runs(retraining)
    for side, version in _versions(retraining).items():
        submit_pipeline(
            platform,
            f"{declared.pipeline}@{declared.tag}",
            arguments=_arguments(declared, retraining, version),
            by=retraining.requested_by,
            caused_by=fact.id,
            run_id=runs[side],
        )


def _after_comparison(platform: Platform, retraining: Retraining, fact: RecordedFact) -> None:
    stores = platform.stores
    runs = _comparison_runs(retraining)
    states = {side: RunState(show_run(stores, run_id)["state"]) for side, run_id in runs.items()}
    if not all(is_terminal(state) for state in states.values()):
        return  # the other side's end comes here too
    failed = [side for side, state in states.items() if state is not RunState.SUCCEEDED]
    if failed:
        raise Refused(f"the {failed[0]}'s run {runs[failed[0]]} ended as {states[failed[0]]}")
    versions = _versions(retraining)
    evaluation_id = evaluate_model(
        platform,
        EvaluationRequest(
            model=retraining.model,
            version=versions["candidate"],
            run_id=runs["candidate"],
            against=versions["incumbent"],
            against_run=runs["incumbent"],
        ),
        by=retraining.requested_by,
        caused_by=retraining.caused_by,
    )
    compared = Comparison(
        retraining.model,
        versions["candidate"],
        versions["incumbent"],
        retraining.window,
        _evaluation(platform, retraining).unit,
    )
    outcome = decide_outcome(find_evaluation(stores, evaluation_id).against_checks, compared)
    release = None
    if outcome.phase is RetrainingPhase.RELEASED:
        release = _release(platform, retraining, fact)
    advance_retraining(
        stores,
        retraining.id,
        RetrainingPhase.COMPARING,
        outcome.phase,
        by=retraining.requested_by,
        sentence=outcome.sentence,
        evaluation_id=evaluation_id,
        release=release.digest if release else None,
        caused_by=fact.id,
    )


def _release(platform: Platform, retraining: Retraining, fact: RecordedFact) -> StoredRelease:
    """What is live, with the candidate in the incumbent's place."""
    declared = platform.declarations()
    environment = declared.monitor(retraining.monitor).environment
    with platform.stores.db.read() as connection:
        live = live_release(connection, environment)
    if live is None:
        raise Refused(f"no release is live in {environment} any more")
    candidate = f"{retraining.model}@{_versions(retraining)['candidate']}"
    models = [
        candidate if pin.name == retraining.model else f"{pin.name}@{pin.version}"
        for pin in live.release.packages
    ]
    return make_release(
        platform,
        candidate.replace("@", "-"),
        models,
        [f"{pin.name}@{pin.version}" for pin in live.release.pipelines],
        by=retraining.requested_by,
        caused_by=fact.id,
    )


def on_release_live(platform: Platform, fact: RecordedFact) -> None:
    """A retrained release asks for the next environment by itself, up to the first approval."""
    if fact.body["after"] != PromotionPhase.LIVE:
        return
    made = [one for one in list_retrainings(platform.stores) if one["release"]]
    mine = [one for one in made if one["release"] == fact.body["release"]]
    if not mine:
        return
    with platform.stores.db.read() as connection:
        release = find_release(connection, fact.body["release"])
        following = [
            one.name
            for one in list_environments(connection)
            if one.policy.after == fact.body["environment"] and not one.policy.automatic
        ]
        asked = {
            one.environment for one in list_promotions(connection) if one.release == release.digest
        }
    for environment in following:
        if environment not in asked:
            by = mine[0]["requested_by"]
            # Refused: another release has taken its place upstream meanwhile.
            with suppress(Refused):
                request_promotion(
                    platform.stores, release.digest, environment, by=by, caused_by=fact.id
                )


def _comparison_runs(retraining: Retraining) -> dict[str, str]:
    return {side: str(uuid5(UUID(retraining.id), side)) for side in SIDES}


def _versions(retraining: Retraining) -> dict[str, str]:
    candidate, incumbent = retraining.candidate_version, retraining.incumbent_version
    if candidate is None or incumbent is None:
        raise Refused(f"{retraining.model} has no incumbent to be compared with")
    return {"candidate": candidate, "incumbent": incumbent}


def _arguments(
    declared: EvaluationDeclaration, retraining: Retraining, version: str
) -> Mapping[str, str]:
    """`{version}` is the model's; dates are those of the window, as in a trigger's arguments."""
    window = parse_window(retraining.window)
    templates = {
        name: value.replace("{version}", version).replace("{data}", f"datasets://{declared.data}")
        for name, value in declared.arguments.items()
    }
    return fill_arguments(templates, window)


def _evaluation(platform: Platform, retraining: Retraining) -> EvaluationDeclaration:
    declared = platform.declarations().model(retraining.model).evaluation
    if declared is None or not declared.against_incumbent:
        raise InvalidInput(
            f"{retraining.model} declares no check against the incumbent.",
            next_step=f"Add against_incumbent to [models.{retraining.model}.evaluation].",
        )
    return declared


def live_version(platform: Platform, environment: str, model: str) -> str | None:
    with platform.stores.db.read() as connection:
        live = live_release(connection, environment)
    pins = {pin.name: pin.version for pin in live.release.packages} if live else {}
    return pins.get(model)


def _error(platform: Platform, retraining: Retraining, reason: str, fact: RecordedFact) -> None:
    if retraining.phase.is_ended:
        return
    advance_retraining(
        platform.stores,
        retraining.id,
        retraining.phase,
        RetrainingPhase.ERRORED,
        by=retraining.requested_by,
        sentence=reason,
        caused_by=fact.id,
    )
