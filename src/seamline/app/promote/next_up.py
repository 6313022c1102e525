"""What could come into an environment next, and why it is not there yet. No gate is asked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.promote.plan_promotion import planned_promotion, why_refused
from seamline.domain.clock import iso
from seamline.domain.states import PromotionPhase, is_terminal
from seamline.promote.decide import why_not_yet
from seamline.promote.environments import Environment, find_environment
from seamline.promote.history import live_since
from seamline.promote.promotion import list_promotions
from seamline.promote.release import StoredRelease, find_release, list_releases
from seamline.promote.situation import load_situation
from seamline.promote.windows import is_open, opens_at

_STOPPED = frozenset({PromotionPhase.FAILED, PromotionPhase.ERRORED, PromotionPhase.REJECTED})


def next_up(
    platform: Platform, connection: Connection, environment: Environment
) -> dict[str, Any] | None:
    """The release that is live one environment earlier (the newest, after dataops), with what it
    would wait for, why it could not be asked for, and what stopped it the last time. None where
    it is live, or on its way in."""
    release = _candidate(connection, environment.policy.after)
    if release is None or release.digest == environment.release:
        return None
    known = list_promotions(connection, environment=environment.name)
    last = next((one for one in known if one.release == release.digest), None)
    if last is not None and not is_terminal(last.phase):
        return None
    now = iso(platform.stores.clock.now())
    planned = planned_promotion(release, environment.name, "", now)
    return {
        "release": release.digest,
        "release_alias": release.alias,
        "waits": why_not_yet(load_situation(connection, platform.stores, planned)),
        "refused": why_refused(connection, release, environment),
        "stopped": last.to_json() if last and last.phase in _STOPPED else None,
    }


def show_window(platform: Platform, environment: Environment) -> dict[str, Any] | None:
    """Whether promotions may be applied now, and when again; None where they always may."""
    windows = environment.policy.open_windows
    if not windows:
        return None
    now = platform.stores.clock.now()
    return {"is_open": is_open(windows, now), "opens_at": iso(opens_at(windows, now))}


def _candidate(connection: Connection, upstream: str | None) -> StoredRelease | None:
    if upstream is None:
        return None
    before = find_environment(connection, upstream)
    if before.policy.after is None:
        newest = list_releases(connection, limit=1)
        return newest[0] if newest else None
    if before.release is None:
        return None
    release = find_release(connection, before.release)
    return release if live_since(connection, release, upstream) is not None else None
