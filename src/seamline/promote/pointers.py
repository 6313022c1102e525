"""Whether an environment's pointer is where the facts moved it to: law 4 rests on it."""

from __future__ import annotations

from sqlalchemy import Connection

from seamline.domain.clock import from_iso
from seamline.domain.errors import DigestMismatch
from seamline.domain.promote_facts import EnvironmentChanged, PromotionMoved
from seamline.domain.states import PromotionPhase
from seamline.store.facts import RecordedFact, read_facts

#: The row's time and the fact's are read one after the other, in one transaction.
_APART_S = 60.0


def check_pointer(connection: Connection, name: str, release: str | None) -> None:
    """Raises DigestMismatch where the row says otherwise than the facts."""
    moved = _last_moved(connection, name)
    said = moved.body["release"] if moved else None
    if said != release:
        what = f"The release that is live in {name}"
        raise DigestMismatch(what, expected=said or "none", actual=release or "none")


def pointer_problems(
    connection: Connection, name: str, release: str | None, changed_at: str | None = None
) -> list[str]:
    """`changed_at`: where it is to be compared, too (soak counts from it)."""
    moved = _last_moved(connection, name)
    said = moved.body["release"] if moved else None
    if said != release:
        return [f"environment {name}: its row says {release}, the facts say {said}"]
    if moved is None or release is None or changed_at is None:
        return []
    times = [moved.at, *_went_live_at(connection, moved)]
    shown = from_iso(changed_at)
    if all(abs((shown - from_iso(at)).total_seconds()) > _APART_S for at in times):
        return [f"environment {name}: its row says since {changed_at}, the facts {times[-1]}"]
    return []


def _last_moved(connection: Connection, name: str) -> RecordedFact | None:
    kinds = [EnvironmentChanged.kind]
    found = read_facts(connection, kinds=kinds, subject=name, newest_first=True, limit=1)
    return found[0] if found else None


def _went_live_at(connection: Connection, moved: RecordedFact) -> list[str]:
    """A pointer that was given back counts from when its release had become live."""
    promotion = moved.body["promotion_id"]
    return [
        one.at
        for one in read_facts(connection, kinds=[PromotionMoved.kind], subject=promotion)
        if one.body["after"] == PromotionPhase.LIVE
    ]
