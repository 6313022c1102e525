"""A run that a gate asks for: started once, looked at until it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from seamline.app.platform import Platform
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.durations import say_duration
from seamline.domain.errors import NotFound, Unavailable
from seamline.domain.states import RunState, is_terminal
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin
from seamline.promote.rounds import find_round
from seamline.train.options import RunLabel, RunOptions
from seamline.train.runs import cancel_run, show_request
from seamline.trust.principals import PLATFORM


@dataclass(frozen=True)
class GateRun:
    """`id` says whose it is: asked for again, after a kill too, it is the same run. `release`: the
    digest of the release that the pipeline is one of. What it makes becomes no dataset."""

    id: str
    pin: Pin
    release: str
    arguments: Mapping[str, Any]
    title: str
    timeout_s: float


def ask_run(platform: Platform, promotion: Promotion, wanted: GateRun) -> dict[str, Any] | None:
    """The ended run; None while it goes on, and where it is started only now. Raises Unavailable
    where it did not end in time (it is cancelled), InvalidInput where it cannot begin."""
    try:
        run = show_request(platform.stores, wanted.id)
    except NotFound:
        _start(platform, promotion, wanted)
        return None
    if is_terminal(RunState(run["state"])):
        return run
    age = platform.stores.clock.now() - datetime.fromisoformat(run["created_at"])
    if age.total_seconds() > wanted.timeout_s:
        cancel_run(platform.stores, wanted.id, by=PLATFORM)
        platform.engine.wake()
        raise Unavailable(
            f"Run {wanted.id} of {wanted.pin.name} did not end within "
            f"{say_duration(wanted.timeout_s)}.",
            next_step=f"Look at it: seamline run show {wanted.id}",
        )
    return None


def _start(platform: Platform, promotion: Promotion, wanted: GateRun) -> None:
    with platform.stores.db.read() as connection:
        cause = find_round(connection, promotion)
    submit_pipeline(
        platform,
        f"{wanted.pin.name}@{wanted.pin.version}",
        arguments=wanted.arguments,
        environment=promotion.environment,
        by=promotion.requested_by,
        caused_by=cause,
        run_id=wanted.id,
        label=RunLabel(display_name=f"gate {wanted.title}"),
        options=RunOptions(enable_cache=False, commits=False),
        release=wanted.release,
    )
