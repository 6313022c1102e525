"""The one readable list: fact → what happens next.

Each reaction is an outbox effect: executed at least once, in fact order, and safe to do again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seamline.app.data.commit_outputs import on_run_ended as commit_outputs
from seamline.app.platform import Platform
from seamline.app.promote.advance_promotion import on_promotion_moved
from seamline.app.promote.apply_release import on_environment_changed
from seamline.app.promote.promote_automatically import on_release_created, on_release_live
from seamline.app.promote.release_run import on_run_ended as release_run
from seamline.app.register.package_run import on_run_ended as package_models
from seamline.app.register.resolve_images import on_pipeline_published
from seamline.app.retrain.retrain_on_data import on_contract_broken
from seamline.app.retrain.retrain_once import on_alarm, start_retraining
from seamline.app.retrain.retrain_once import on_release_live as promote_retrained
from seamline.app.retrain.retrain_once import on_run_ended as continue_retraining
from seamline.domain import facts
from seamline.domain.fact import Fact
from seamline.domain.promote_facts import (
    ApprovalGiven,
    EmergencyRequested,
    EnvironmentChanged,
    PromotionMoved,
    PromotionRequested,
    ReleaseCreated,
    RollbackRequested,
)
from seamline.store.facts import RecordedFact


@dataclass(frozen=True)
class Reaction:
    fact: type[Fact]
    #: True: there is more to do, and the reactions after this one wait until it is done.
    effect: Callable[[Platform, RecordedFact], bool | None]
    says: str


def _wake_scheduler(platform: Platform, fact: RecordedFact) -> None:
    platform.scheduler.wake()


REACTIONS = (
    Reaction(facts.RunEnded, _wake_scheduler, "a schedule that waits for room takes its next run"),
    Reaction(facts.RunEnded, commit_outputs, "outputs declared as datasets become versions"),
    Reaction(facts.RunEnded, package_models, "outputs declared as models become packages"),
    Reaction(facts.RunEnded, release_run, "what is declared as a release of it becomes one"),
    Reaction(facts.RunEnded, continue_retraining, "a retraining takes its next step"),
    Reaction(facts.PipelinePublished, on_pipeline_published, "its images are looked up"),
    Reaction(ReleaseCreated, on_release_created, "promotion to automatic environments"),
    Reaction(PromotionRequested, on_promotion_moved, "its gates are checked"),
    Reaction(RollbackRequested, on_promotion_moved, "its bytes are checked"),
    Reaction(EmergencyRequested, on_promotion_moved, "its bytes are checked"),
    Reaction(PromotionMoved, on_promotion_moved, "it takes the step that is decided"),
    Reaction(PromotionMoved, on_release_live, "promotion to automatic environments"),
    Reaction(PromotionMoved, promote_retrained, "a retrained release asks to go on"),
    Reaction(ApprovalGiven, on_promotion_moved, "it goes on when enough have approved"),
    Reaction(EnvironmentChanged, on_environment_changed, "index, snapshot, then live"),
    Reaction(facts.AlarmRaised, on_alarm, "triggers decide whether to retrain"),
    Reaction(facts.ContractBroken, on_contract_broken, "triggers decide whether to retrain"),
    Reaction(facts.RetrainingRequested, start_retraining, "the training pipeline is run"),
)

REACTING = frozenset(reaction.fact.kind for reaction in REACTIONS)


def react(platform: Platform, fact: RecordedFact) -> bool:
    """Whether all is done; else do it again, when other facts have had their turn."""
    return not any(
        reaction.effect(platform, fact) for reaction in REACTIONS if reaction.fact.kind == fact.kind
    )


def describe_reactions() -> str:
    """The table of the docs (docs/reference/reactions.md)."""
    lines = ["| fact | appended by | what happens next |", "|---|---|---|"]
    lines += [f"| `{one.fact.kind}` | {one.fact.room} | {one.says} |" for one in REACTIONS]
    return "\n".join(lines)
