"""The ledger: facts, their chain, its head, and all of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from seamline.app.trust.export_audit import export_ledger, sign_head
from seamline.promote.recount import all_problems
from seamline.protocols.native.access import Limit, PlatformOf, Reader
from seamline.store.facts import read_facts, verify_chain

ROUTER = APIRouter()


@ROUTER.get("/facts")
def facts(
    platform: PlatformOf, who: Reader, subject: str | None = None, limit: Limit = 50
) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        found = read_facts(connection, subject=subject, limit=limit, newest_first=True)
    return [one.to_json() for one in found]


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
