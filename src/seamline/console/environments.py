"""What the pages of one environment show: itself, a planned promotion, a planned rollback."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.board import show_board, show_promotion
from seamline.app.promote.plan_promotion import plan_promotion
from seamline.app.promote.plan_rollback import plan_rollback
from seamline.app.serve.show_endpoint import endpoint_names
from seamline.domain.clock import iso
from seamline.domain.errors import Conflict, not_found
from seamline.promote.environments import find_environment, list_environments
from seamline.promote.glass import broken_glass
from seamline.promote.history import were_live
from seamline.promote.release import list_releases

#: In the list of what was live.
SHOWN_BEFORE = 20
#: To choose a release from.
CHOICES = 50


def read_environment(platform: Platform, name: str) -> dict[str, Any]:
    """Raises NotFound."""
    board = show_board(platform)
    environments = {one["name"]: one for one in board["environments"]}
    if name not in environments:
        raise not_found("environment", name, environments)
    with platform.stores.db.read() as connection:
        were = were_live(connection, name)[:SHOWN_BEFORE]
        releases = [_brief(one) for one in list_releases(connection, CHOICES)]
        following = [one.name for one in list_environments(connection) if one.policy.after == name]
    return {
        "environment": environments[name],
        "following": following,
        "endpoints": endpoint_names(platform, name),
        "were_live": [show_promotion(platform, one.id) for one in were],
        "releases": releases,
        "now": iso(platform.stores.clock.now()),
    }


def read_plan(platform: Platform, release: str, environment: str, by: str) -> dict[str, Any]:
    """Raises NotFound."""
    with platform.stores.db.read() as connection:
        target = find_environment(connection, environment)
        glass = broken_glass(connection, platform.stores.clock.now(), environment)
    return {
        "your_glass": [one.to_json() for one in glass if one.principal == by],
        "plan": plan_promotion(platform, release, environment, by=by),
        "policy": target.policy.to_json(),
        "now": iso(platform.stores.clock.now()),
    }


def read_rollback(platform: Platform, environment: str, to: str | None) -> dict[str, Any]:
    """Raises NotFound for an unknown environment."""
    return {
        "plan": plan_rollback(platform, environment, to),
        "now": iso(platform.stores.clock.now()),
    }


def check_seen(platform: Platform, environment: str, seen: str) -> None:
    """Raises Conflict where another release is live by now than the page's reader was shown."""
    with platform.stores.db.read() as connection:
        live = find_environment(connection, environment).release or ""
    if live != seen:
        raise Conflict(
            f"What is live in {environment} has changed since this page was made.",
            next_step="Look at the plan as it is now, then decide.",
        )


def _brief(release: Any) -> dict[str, str]:
    return {"alias": release.alias, "digest": release.digest}
