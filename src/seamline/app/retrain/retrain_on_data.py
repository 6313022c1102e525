"""New data that break a contract whose policy is `trigger`: the model learns what has changed."""

from __future__ import annotations

from datetime import date

from seamline.app.platform import Platform
from seamline.app.retrain.retrain_once import live_version
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import SeamlineError, Unavailable
from seamline.monitor.windows import window_of
from seamline.retrain.retrainings import request_retraining
from seamline.retrain.triggers import Cause, Skip, Trigger, acts_on
from seamline.store.facts import RecordedFact


def on_contract_broken(platform: Platform, fact: RecordedFact) -> None:
    """Each trigger that names `contract(DATASET)` among its checks decides, as after an alarm: one
    retraining for the window in which the delivery ends, none while one is open or cooling down."""
    if not fact.body["triggers"]:
        return
    declared = platform.declarations()
    check = f"contract({fact.body['dataset']})"
    undecided: list[str] = []
    for trigger in declared.triggers.values():
        if not trigger.checks or not acts_on(trigger.checks, check):
            continue
        try:
            monitor = declared.monitor(trigger.monitor)
            cool_down_s = parse_duration_s(trigger.cool_down)
            decided = request_retraining(
                platform.stores,
                Trigger(trigger.name, trigger.monitor, trigger.checks, cool_down_s),
                Cause(fact.id, trigger.monitor, check, " ".join(fact.body["triggers"])),
                window_of(date.fromisoformat(fact.body["last_day"]), monitor.window),
                model=trigger.model,
                incumbent_version=live_version(platform, monitor.environment, trigger.model),
                by=declared.owners.get(f"triggers.{trigger.name}", platform.owner),
                arguments=trigger.arguments,
            )
        except SeamlineError as error:
            undecided.append(f"{trigger.name}: {error}")
            continue
        if isinstance(decided, Skip) and not decided.is_final:
            undecided.append(f"{trigger.name}: {decided.reason}.")
    if undecided:
        # Asked again later: the outbox keeps the fact until each can be decided.
        raise Unavailable(" ".join(undecided))
