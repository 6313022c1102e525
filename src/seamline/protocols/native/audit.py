"""The ledger: facts, their chain, its head, and all of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from seamline.app.trust.export_audit import export_ledger, sign_head
from seamline.domain.durations import parse_moment
from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.facts import FACT_TYPES
from seamline.promote.recount import all_problems
from seamline.protocols.native.access import Limit, PlatformOf, Reader
from seamline.store.facts import read_facts, verify_chain

ROUTER = APIRouter()


@ROUTER.get("/facts")
def facts(
    platform: PlatformOf,
    who: Reader,
    kind: Annotated[list[str] | None, Query()] = None,
    by: str | None = None,
    since: str | None = None,
    until: str | None = None,
    subject: str | None = None,
    before: Annotated[int | None, Query(ge=0, lt=1 << 53)] = None,
    limit: Limit = 50,
) -> list[dict[str, Any]]:
    """Newest first. `kind`: "promotion.*" is all of a group; `since`, `until`: a date, a time, or
    how long ago ("7d"); `before`: the last answer's smallest `seq`, to go on from there."""
    now = platform.stores.clock.now()
    for one in kind or ():
        _check_kind(one)
    with platform.stores.db.read() as connection:
        found = read_facts(
            connection,
            kinds=kind or (),
            by=by,
            since=None if since is None else parse_moment(since, now),
            until=None if until is None else parse_moment(until, now),
            subject=subject,
            before=before,
            limit=limit,
            newest_first=True,
        )
    return [one.to_json() for one in found]


def _check_kind(kind: str) -> None:
    """A mistyped one would be an empty answer, and an empty ledger is a statement."""
    known = {*FACT_TYPES, *(f"{one.partition('.')[0]}.*" for one in FACT_TYPES)}
    if kind not in known:
        raise InvalidInput(
            f"There is no kind of fact {kind[:80]!r}.", next_step=nearest(kind[:80], known)
        )


@ROUTER.get("/audit/verify")
def verify(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    """`broken`: the first fact that does not fit; `problems`: where rows of promotions disagree
    with the facts."""
    with platform.stores.db.read() as connection:
        report = verify_chain(connection)
        problems = all_problems(connection)
    return {**asdict(report), "problems": problems}


@ROUTER.get("/audit/head")
def head(platform: PlatformOf, who: Reader) -> dict[str, Any]:
    """How far the chain goes, signed now (`envelope`): an anchor, once it is kept elsewhere."""
    found, envelope = sign_head(platform.stores)
    return {**found.__dict__, "envelope": envelope.decode()}


@ROUTER.get("/audit/export")
def export(platform: PlatformOf, who: Reader) -> StreamingResponse:
    """Every governance fact as a line of JSON, behind the signed head and the key history."""
    return StreamingResponse(export_ledger(platform.stores), media_type="application/jsonl")
