"""What a rollback would do: what comes back, what goes, and whether the bytes still hold."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from seamline.app.platform import Platform
from seamline.app.promote.show_release import verify_release
from seamline.domain.errors import SeamlineError
from seamline.promote.environments import find_environment
from seamline.promote.history import find_previous, has_been_live, were_live
from seamline.promote.release import Release, StoredRelease, find_release
from seamline.promote.release_diff import changes_between


def plan_rollback(platform: Platform, environment: str, to: str | None = None) -> dict[str, Any]:
    """`to`: another release than the one that was live before. `refused` is why it cannot be;
    `choices` are all that can. Writes nothing."""
    with platform.stores.db.read() as connection:
        live = _live(connection, environment)
        choices = _choices(connection, environment)
        target, refused = _target(connection, environment, live, choices, to)
    verified = verify_release(platform, target.digest) if target else None
    return {
        "environment": environment,
        "live": _named(live),
        "target": _named(target),
        "refused": refused,
        "choices": [_named(one) for one in choices],
        "changes": [
            one.to_json()
            for one in changes_between(live.release if live else Release(), target.release)
        ]
        if target
        else [],
        "verified": verified["verified"] if verified else False,
        "checks": verified["checks"] if verified else [],
    }


def _target(
    connection: Connection,
    environment: str,
    live: StoredRelease | None,
    choices: list[StoredRelease],
    to: str | None,
) -> tuple[StoredRelease | None, str | None]:
    """What comes back, or why nothing can."""
    if live is None:
        return None, f"Nothing is live in {environment}: there is nothing to roll back."
    try:
        if to is None:
            return find_previous(connection, find_environment(connection, environment)), None
        target = find_release(connection, to)
    except SeamlineError as error:
        return None, str(error)
    if target not in choices:
        return None, f"Release {target.alias} is not one that was live in {environment} before."
    return target, None


def _live(connection: Connection, environment: str) -> StoredRelease | None:
    digest = find_environment(connection, environment).release
    return find_release(connection, digest) if digest else None


def _choices(connection: Connection, environment: str) -> list[StoredRelease]:
    """Each release that was live there and could come back, the last one first."""
    now = find_environment(connection, environment).release
    digests = dict.fromkeys(one.release for one in were_live(connection, environment))
    found = [find_release(connection, digest) for digest in digests if digest != now]
    return [one for one in found if has_been_live(connection, one, environment)]


def _named(release: StoredRelease | None) -> dict[str, str] | None:
    return {"alias": release.alias, "digest": release.digest} if release else None
