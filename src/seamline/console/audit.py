"""The page of the ledger: what was said, whether the chain holds, and what to keep outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile

from seamline.app.platform import Platform
from seamline.app.trust.export_audit import export_ledger, sign_head
from seamline.console.page import HEADERS, Pages
from seamline.console.timeline import told
from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput, SeamlineError, not_found
from seamline.domain.fact import FactClass
from seamline.domain.facts import FACT_TYPES
from seamline.protocols.errors import STATUS, error_body
from seamline.store.facts import read_facts, read_head, verify_chain
from seamline.trust.audit import verify_export
from seamline.trust.principals import PLATFORM, list_principals

LISTED = 50
#: So many facts are hashed in a tenth of a second: whether they hold is said without being asked.
VERIFIED_AT_ONCE = 5_000
#: An anchor is a signed head: some hundred bytes.
LARGEST_ANCHOR_BYTES = 65_536
Field = Annotated[str, Form()]


@dataclass(frozen=True)
class Filter:
    """Which facts are listed; empty: no limit in that respect."""

    kind: str = ""
    by: str = ""
    #: Somewhere in what the fact says: an id, a digest, a name.
    find: str = ""
    #: This one, and what it caused.
    fact: str = ""
    #: Older than this number.
    before: int | None = None


def add_audit_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/audit")
    def audit(
        request: Request,
        kind: str = "",
        by: str = "",
        find: str = "",
        fact: str = "",
        before: int | None = None,
        verify: str = "",
    ) -> Response:
        """`verify`: recompute the chain now, however long it is."""
        _, who = pages.sessions.reader(request)
        asked = Filter(kind, by, find.strip(), fact, before)
        data = read_audit(_platform(request), asked, verify=bool(verify))
        return pages.page(request, "audit.html", {**data, "refusal": None}, who)

    @router.get("/audit/anchor")
    def anchor(request: Request) -> Response:
        """How far the ledger goes, signed now: to be kept elsewhere."""
        pages.sessions.reader(request)
        head, envelope = sign_head(_platform(request).stores)
        name = f'attachment; filename="audit-head-{head.chain_seq}.json"'
        headers = {**HEADERS, "Content-Disposition": name}
        return Response(envelope, 200, headers, "application/json")

    @router.post("/audit")
    def compare(
        request: Request,
        anchors: Annotated[list[UploadFile] | None, File()] = None,
        form_token: Field = "",
    ) -> Response:
        """The whole ledger against anchors that were kept elsewhere."""
        pages.sessions.check_form(request, form_token)
        _, who = pages.sessions.reader(request)
        platform, refused = _platform(request), None
        data = read_audit(platform, Filter(), verify=False)
        try:
            data["compared"] = compare_anchors(platform, [_read(one) for one in anchors or ()])
        except SeamlineError as error:
            refused = error
        refusal = error_body(refused)["error"] if refused else None
        status = STATUS.get(type(refused), 500) if refused else 200
        return pages.page(request, "audit.html", {**data, "refusal": refusal}, who, status)


def read_audit(platform: Platform, asked: Filter, *, verify: bool) -> dict[str, Any]:
    """Raises NotFound for a kind of facts that there is not."""
    kinds = sorted(
        kind for kind, cls in FACT_TYPES.items() if cls.fact_class is FactClass.GOVERNANCE
    )
    if asked.kind and asked.kind not in kinds:
        raise not_found("kind of governance facts", asked.kind, kinds)
    with platform.stores.db.read() as connection:
        count, head = read_head(connection)
        newest = read_facts(connection, chained_only=True, newest_first=True, limit=1)
        report = verify_chain(connection) if verify or count <= VERIFIED_AT_ONCE else None
        broken = read_facts(connection, ids=[report.broken]) if report and report.broken else []
        found = read_facts(
            connection,
            kinds=[asked.kind] if asked.kind else (),
            by=asked.by or None,
            ids=[asked.fact] if asked.fact else (),
            mentioning=asked.find or None,
            before=asked.before,
            chained_only=True,
            newest_first=True,
            limit=LISTED + 1,
        )
        if asked.fact:
            found += read_facts(connection, caused_by=asked.fact, limit=LISTED)
        listed = told(connection, found[:LISTED])
        people = [one.name for one in list_principals(connection)]
        state = {
            "facts": count,
            "head": head,
            "newest_at": newest[0].at if newest else None,
            "report": asdict(report) if report else None,
            "broken": told(connection, broken),
        }
    return {
        "chain": state,
        "compared": None,
        "facts": listed,
        "next": listed[-1]["seq"] if len(found) > LISTED and not asked.fact else None,
        "asked": asdict(asked),
        "kinds": kinds,
        "people": sorted({platform.owner, PLATFORM, *people}),
        "now": iso(platform.stores.clock.now()),
    }


def compare_anchors(platform: Platform, anchors: Sequence[bytes]) -> dict[str, Any]:
    """Raises InvalidInput without any."""
    given = [one for one in anchors if one.strip()]
    if not given:
        raise InvalidInput(
            "No anchor was given.", next_step="Choose the files that were kept elsewhere."
        )
    return verify_export(export_ledger(platform.stores), anchors=given).to_json()


def _read(file: UploadFile) -> bytes:
    content = file.file.read(LARGEST_ANCHOR_BYTES + 1)
    if len(content) > LARGEST_ANCHOR_BYTES:
        raise InvalidInput(
            f"{file.filename} is no anchor: it is larger than {LARGEST_ANCHOR_BYTES:,} bytes.",
            next_step="An anchor is what seamline audit anchor writes; not the export.",
        )
    return content


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform
