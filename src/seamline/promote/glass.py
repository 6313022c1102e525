"""Breaking the glass: for a limited time one person may promote whatever the policy asks.

Only what concerns the bytes stays: digests, provenance, formats. Who, why and until when is a
governance fact, and boards show it as long as it lasts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import from_iso, iso, new_id
from seamline.domain.durations import say_duration
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, not_found
from seamline.domain.promote_facts import GlassBroken, GlassMended
from seamline.promote.environments import TRAINING, find_environment
from seamline.promote.holds import check_reason
from seamline.promote.rows import GLASS
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Verb


@dataclass(frozen=True)
class Glass:
    """`mended_at`: when it was closed before its time."""

    id: str
    environment: str
    principal: str
    reason: str
    broken_at: str
    until: str
    mended_at: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_broken(self, now: datetime) -> bool:
        """A clock that went back to before it was broken finds it closed."""
        return (
            self.mended_at is None
            and from_iso(self.broken_at) <= now
            and now < from_iso(self.until)
        )


def break_glass(
    stores: Stores, environment: str, who: Principal, reason: str, lasts_s: float
) -> Glass:
    """Raises Forbidden without the role that the policy names, InvalidInput without a reason or
    for longer than it allows, Conflict while it is broken already."""
    check_reason(reason, "Breaking the glass")
    with stores.db.transaction() as tx:
        rule = find_environment(tx, environment).policy.break_glass
        if environment == TRAINING:
            raise InvalidInput(
                f"There is no glass before {environment}: nothing is promoted there."
            )
        if not any(one.role in rule.roles and one.holds(Verb.BREAK_GLASS, environment)
                   for one in who.held):  # fmt: skip
            able = " or ".join(rule.roles) or "nobody"
            raise Forbidden(
                f"{who.name} may not break the glass of {environment}: its policy lets {able}.",
                next_step="Ask one of them, or promote the regular way.",
            )
        if not 0 < lasts_s <= rule.longest_s:
            raise InvalidInput(
                f"The glass of {environment} can be broken for {say_duration(rule.longest_s)} at "
                f"the longest, not for {say_duration(lasts_s)}."
            )
        now = stores.clock.now()
        for other in broken_glass(tx, now, environment):
            if other.principal == who.name:
                raise Conflict(
                    f"{who.name} has broken the glass of {environment} already, "
                    f"until {other.until}."
                )
        glass = Glass(
            new_id(stores.clock),
            environment,
            who.name,
            reason.strip(),
            iso(now),
            iso(now + timedelta(seconds=lasts_s)),
        )
        tx.execute(insert(GLASS).values(**asdict(glass)))
        fact = GlassBroken(glass.id, environment, glass.reason, glass.until)
        stores.facts.append(tx, fact, by=who.name)
    return glass


def mend_glass(stores: Stores, environment: str, *, by: str) -> list[Glass]:
    """Closes what is broken there; NotFound where nothing is."""
    with stores.db.transaction() as tx:
        find_environment(tx, environment)
        now = stores.clock.now()
        broken = broken_glass(tx, now, environment)
        if not broken:
            raise NotFound(f"The glass of {environment} is whole.")
        for glass in broken:
            mended = update(GLASS).where(GLASS.c.id == glass.id).values(mended_at=iso(now))
            tx.execute(mended)
            stores.facts.append(tx, GlassMended(glass.id, environment), by=by)
    return broken


def find_glass(connection: Connection, glass_id: str) -> Glass:
    row = connection.execute(select(GLASS).where(GLASS.c.id == glass_id)).one_or_none()
    if row is None:
        raise not_found("broken glass", glass_id, connection.execute(select(GLASS.c.id)).scalars())
    return _glass(row)


def broken_glass(
    connection: Connection, now: datetime, environment: str | None = None
) -> list[Glass]:
    """What is broken at this moment, oldest first."""
    query = select(GLASS).where(GLASS.c.mended_at.is_(None)).order_by(GLASS.c.broken_at, GLASS.c.id)
    if environment is not None:
        query = query.where(GLASS.c.environment == environment)
    return [glass for row in connection.execute(query) if (glass := _glass(row)).is_broken(now)]


def _glass(row: Any) -> Glass:
    return Glass(
        row.id, row.environment, row.principal, row.reason, row.broken_at, row.until, row.mended_at
    )
