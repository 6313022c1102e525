"""What is admitted is admitted until the transaction that records it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import OperationalError

from seamline.domain.errors import DigestMismatch, NotFound, Refused
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.admission import admit, admit_for_good
from seamline.promote.environments import apply_policies
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import DEFAULT_POLICIES, POLICY
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.rows import ENVIRONMENTS, PROMOTIONS
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.stores import Stores

OLD, NEW, OTHER = (f"sha256:{digit * 64}" for digit in "abc")


@pytest.fixture
def asked(stores: Stores) -> str:
    """`spring` is live in development; a promotion of `summer` is being checked."""
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    for alias, digest in (("spring", OLD), ("summer", NEW)):
        record_release(stores, Release(pipelines=(Pin("p", "1.0.0", digest),)), alias, by="ada")
    first = request_promotion(stores, "spring", "development", by="ada")
    advance(stores, first.id)
    pass_gates(stores, first.id)
    point_environment(stores, first.id)
    finish(stores, first.id, PromotionPhase.LIVE, "", caused_by=None)
    second = request_promotion(stores, "summer", "development", by="ada")
    advance(stores, second.id)
    return second.id


def pass_gates(stores: Stores, promotion_id: str) -> None:
    record_gate(stores, promotion_id, GateResult(POLICY, Verdict.PASS, "", {}), by="seamline")
    assert advance(stores, promotion_id).phase is PromotionPhase.APPLYING


def test_the_live_release_and_the_one_that_is_checked_are_admitted(
    stores: Stores, asked: str
) -> None:
    with stores.db.read() as connection:
        for digests in ([OLD], [NEW]):
            assert admit(connection, "development", "It", digests) is not None
        for digests in ([OTHER], [OLD, NEW]):  # no one release holds both
            with pytest.raises(Refused, match="cannot run in development"):
                admit(connection, "development", "It", digests)
        assert admit(connection, "dataops", "It", [OTHER]) is None
        with pytest.raises(NotFound, match="Did you mean staging"):
            admit(connection, "stagin", "It", [OLD])
    pass_gates(stores, asked)
    with (
        stores.db.read() as connection,
        pytest.raises(Refused, match="Release that would be needed: summer"),
    ):
        admit(connection, "development", "It", [NEW])


def test_an_altered_pointer_admits_nothing(stores: Stores, asked: str) -> None:
    with stores.db.transaction() as tx:
        mine = ENVIRONMENTS.c.name == "development"
        tx.execute(update(ENVIRONMENTS).where(mine).values(release=None))
    with stores.db.read() as connection, pytest.raises(DigestMismatch, match="found none"):
        admit(connection, "development", "It", [OLD])


@contextmanager
def beside(stores: Stores) -> Iterator[Connection]:
    """Another transaction, which does not wait for locks."""
    with stores.db.engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_promotion_comes_between_the_check_and_what_it_admits(
    stores: Stores, asked: str
) -> None:
    """SQLite has one writer at a time, and so nothing to try."""
    pointer = select(ENVIRONMENTS.c.name).where(ENVIRONMENTS.c.name == "development")
    checked = select(PROMOTIONS.c.id).where(PROMOTIONS.c.id == asked)
    with stores.db.transaction() as tx:
        admit_for_good(tx, "development", "It", [NEW])
        for moved in (pointer, checked):
            with beside(stores) as other, pytest.raises(OperationalError, match="lock"):
                other.execute(moved.with_for_update(nowait=True))
        with beside(stores) as other:  # two runs admit each other
            other.execute(pointer.with_for_update(read=True, nowait=True))
    for moved in (pointer, checked):
        with beside(stores) as other:
            other.execute(moved.with_for_update(nowait=True))
