"""A release looked at: against another one, and against the bytes that it names."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.gates import digests, provenance
from seamline.domain.states import Verdict
from seamline.promote.release import find_release
from seamline.promote.release_diff import changes_between


def compare_releases(platform: Platform, before: str, after: str) -> dict[str, Any]:
    with platform.stores.db.read() as connection:
        old, new = find_release(connection, before), find_release(connection, after)
    return {
        "before": {"alias": old.alias, "digest": old.digest},
        "after": {"alias": new.alias, "digest": new.digest},
        "changes": [one.to_json() for one in changes_between(old.release, new.release)],
    }


def verify_release(platform: Platform, reference: str) -> dict[str, Any]:
    """Every byte that it names is hashed now, every statement asked for: as the gates do."""
    with platform.stores.db.read() as connection:
        release = find_release(connection, reference)
    results = [check(platform, release) for check in (digests.look, provenance.look)]
    return {
        "release": release.digest,
        "alias": release.alias,
        "verified": all(one.verdict is Verdict.PASS for one in results),
        "checks": [one.to_json() for one in results],
    }
