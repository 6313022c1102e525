"""Promoting code: the environment trains, and what was trained there goes live in it.

The release that is promoted names the training pipelines. While its promotion is checked they run
in the environment, once each; a release of what they made takes its place from then on: its bytes
are what gates look at, approvals bind and the pointer points to.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid5

from sqlalchemy import Connection, update

from seamline.domain.promote_facts import CodeRetrained
from seamline.domain.states import Promotes, PromotionKind, PromotionPhase
from seamline.promote.environments import find_environment
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.rows import PROMOTIONS
from seamline.store.stores import Stores
from seamline.trust.principals import PLATFORM


def promotes_code(connection: Connection, promotion: Promotion) -> bool:
    policy = find_environment(connection, promotion.environment).policy
    return policy.promotes is Promotes.CODE and promotion.kind is PromotionKind.REGULAR


def training_run(promotion_id: str, pipeline: str) -> str:
    """The run of one training pipeline: the same id however often it is asked for.

    >>> promotion = "01890000-0000-7000-8000-000000000000"
    >>> training_run(promotion, "train") == training_run(promotion, "train")
    True
    >>> training_run(promotion, "train") == training_run(promotion, "predict")
    False
    """
    return str(uuid5(UUID(promotion_id), f"train/{pipeline}"))


def evaluation_run(promotion_id: str, model: str) -> str:
    """The run whose predictions tell how good what was trained is."""
    return str(uuid5(UUID(promotion_id), f"evaluate/{model}"))


def find_by_code_run(connection: Connection, environment: str, run_id: str) -> Promotion | None:
    """The promotion that is being checked by this run of the platform's own."""
    for one in list_promotions(connection, environment=environment, open_only=True):
        if one.phase is not PromotionPhase.CHECKING or not promotes_code(connection, one):
            continue
        release = find_release(connection, one.goes_live).release
        runs = {training_run(one.id, pin.name) for pin in release.pipelines}
        if run_id in runs | {evaluation_run(one.id, pin.name) for pin in release.packages}:
            return one
    return None


def record_retrained(
    stores: Stores,
    promotion: Promotion,
    made: StoredRelease,
    runs: Sequence[str],
    *,
    caused_by: str,
) -> Promotion:
    """Once, while it is checked."""
    with stores.db.transaction() as tx:
        here = (
            PROMOTIONS.c.id == promotion.id,
            PROMOTIONS.c.phase == PromotionPhase.CHECKING,
            PROMOTIONS.c.retrained.is_(None),
        )
        if tx.execute(update(PROMOTIONS).where(*here).values(retrained=made.digest)).rowcount == 1:
            fact = CodeRetrained(
                promotion.id, promotion.environment, promotion.release, made.digest, tuple(runs)
            )
            stores.facts.append(tx, fact, by=PLATFORM, caused_by=caused_by)
        return find_promotion(tx, promotion.id)
