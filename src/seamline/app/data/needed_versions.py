"""Which dataset versions somebody needs, and who: what retention asks before it removes rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection

from seamline.domain.clock import Clock, iso
from seamline.evaluate.origins import versions_of_backtests, versions_of_evaluations
from seamline.promote.release import list_releases
from seamline.register.models.origins import versions_of_models
from seamline.train.reads import versions_of_runs, versions_of_schedules

#: What a run read is kept for so long after its end: it may be retried, and its model packaged.
AFTER_RUNS = timedelta(days=7)


def needed_versions(connection: Connection, clock: Clock) -> Mapping[str, str]:
    """References ("NAME@3") → why: the strongest reason that there is. Approvals, promotions and
    rollbacks need releases, and every release that was ever made is kept."""
    since = iso(clock.now() - AFTER_RUNS)
    found: dict[str, str] = {}
    for one in list_releases(connection):
        for pin in one.release.datasets:
            found.setdefault(f"{pin.name}@{pin.version}", f"release {one.alias}")
    others = (
        ("trained", versions_of_models(connection)),
        ("an evaluation of", versions_of_evaluations(connection)),
        ("a back-test of", versions_of_backtests(connection)),
        ("run", versions_of_runs(connection, since)),
        ("schedule", versions_of_schedules(connection)),
    )
    for word, references in others:
        for reference, who in references.items():
            found.setdefault(reference, f"{word} {who}")
    return found
