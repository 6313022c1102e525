"""Law 4: outside dataops only the current release's digests run, and those of one being checked.

A release that is being checked runs beside the one that is live, so that its gates have something
to look at. It is told apart from it: whatever is admitted is admitted by one release, by name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from seamline.domain.digests import short
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import TRAINING, find_environment, live_release
from seamline.promote.release import (
    StoredRelease,
    find_release,
    list_releases,
    pinned_digests,
)
from seamline.promote.rows import ENVIRONMENTS, PROMOTIONS

#: Of the releases that hold something, in one sentence.
_MAX_NAMED = 5


@dataclass(frozen=True)
class Admitted:
    """The releases whose digests may run in an environment."""

    environment: str
    live: StoredRelease | None
    checking: tuple[StoredRelease, ...] = ()

    @property
    def releases(self) -> tuple[StoredRelease, ...]:
        """The live one before others."""
        return (*([self.live] if self.live else []), *self.checking)

    def find_holder(self, digests: Collection[str]) -> StoredRelease | None:
        """One that holds all of them."""
        wanted = set(digests)
        holding = (one for one in self.releases if wanted <= pinned_digests(one.release))
        return next(holding, None)


def find_admitted(connection: Connection, environment: str) -> Admitted:
    """In dataops nothing is live, and everything may run."""
    live = live_release(connection, environment)
    asked = select(PROMOTIONS.c.release).where(
        PROMOTIONS.c.environment == environment,
        PROMOTIONS.c.phase == PromotionPhase.CHECKING,
        PROMOTIONS.c.release != (live.digest if live else ""),
    )
    checking = connection.execute(asked.order_by(PROMOTIONS.c.requested_at)).scalars().all()
    return Admitted(
        environment,
        live,
        tuple(find_release(connection, digest) for digest in checking),
    )


def admit(
    connection: Connection,
    environment: str,
    what: str,
    digests: Collection[str],
    release: str | None = None,
) -> str | None:
    """The digest of the release that admits these, None in dataops; Refused otherwise.

    `release`: the one that has to; without, the live one does where it can.
    """
    if environment == TRAINING:
        find_environment(connection, environment)
        if release is not None:
            raise InvalidInput(
                f"{what} runs in {environment} with no release: nothing is live there.",
                next_step="Leave the release out, or name the environment that it is for.",
            )
        return None
    admitted = find_admitted(connection, environment)
    if release is not None:
        admitted = _with(connection, admitted, what, release)
    holder = admitted.find_holder(digests)
    if holder is None:
        raise _refusal(connection, admitted, what, digests)
    return holder.digest


def admit_for_good(
    tx: Connection,
    environment: str,
    what: str,
    digests: Collection[str],
    release: str | None = None,
) -> str | None:
    """As `admit`, in the transaction that records what is admitted: until it has ended, the
    environment points where it points, and no check ends.

    Whoever moves the pointer locks the environment first, then promotions, then the ledger; so
    does this.
    """
    if environment != TRAINING:
        here = select(ENVIRONMENTS.c.name).where(ENVIRONMENTS.c.name == environment)
        tx.execute(here.with_for_update(read=True)).all()
        checked = select(PROMOTIONS.c.id).where(
            PROMOTIONS.c.environment == environment,
            PROMOTIONS.c.phase == PromotionPhase.CHECKING,
        )
        tx.execute(checked.with_for_update(read=True)).all()
    return admit(tx, environment, what, digests, release)


def _with(connection: Connection, admitted: Admitted, what: str, release: str) -> Admitted:
    """Of what is admitted, this release alone."""
    environment = admitted.environment
    wanted = find_release(connection, release)
    named = f"{wanted.alias} ({short(wanted.digest)})"
    if wanted.digest not in {one.digest for one in admitted.releases}:
        live = admitted.live
        now = f"; {live.alias} ({short(live.digest)}) is live" if live else ""
        raise Refused(
            f"{what} cannot run in {environment} with release {named}: it is neither live there "
            f"nor being checked for it{now}.",
            next_step=f"Promote it: seamline promote {wanted.alias} --to {environment}.",
        )
    return Admitted(environment, wanted)


def say_needed(connection: Connection, environment: str, digests: Collection[str]) -> str:
    """What to do so that these may run there: which release holds them, or that none does."""
    wanted = set(digests)
    holding = [
        one.alias for one in list_releases(connection) if wanted <= pinned_digests(one.release)
    ]
    if not holding:
        return "Make a release that holds it, and promote that."
    named = ", ".join(holding[:_MAX_NAMED]) + (", …" if len(holding) > _MAX_NAMED else "")
    held = "Release" if len(holding) == 1 else "Releases"
    return (
        f"{held} that would be needed: {named}. Promote it: seamline promote {holding[0]} "
        f"--to {environment}."
    )


def _refusal(
    connection: Connection, admitted: Admitted, what: str, digests: Collection[str]
) -> Refused:
    environment, live = admitted.environment, admitted.live
    needed = say_needed(connection, environment, digests)
    if live is None:
        return Refused(
            f"{what} cannot run in {environment}: no release is live there.", next_step=needed
        )
    foreign = sorted(set(digests) - pinned_digests(live.release))
    return Refused(
        f"{what} ({', '.join(short(digest) for digest in foreign)}) cannot run in "
        f"{environment}: the live release {live.alias} ({short(live.digest)}) does not hold it.",
        next_step=needed,
    )
