"""The hash chain of governance facts, as pure rules.

hash(n) = sha256 of the canonical JSON (RFC 8785) of {id, kind, at, by, caused_by, body,
previous: hash(n-1)}; hash(0) is the digest of no bytes. The chain proves order and integrity of
what it holds, and nothing about a tail that was cut off: heads have to be anchored outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from seamline.domain.digests import digest_of

GENESIS = str(digest_of(b""))
#: Made once: `json.dumps` with an option makes an encoder for each call.
_SAID = json.JSONEncoder(ensure_ascii=False).encode


class Link(NamedTuple):
    """One fact as the chain holds it; `body` is the text of its canonical JSON."""

    chain_seq: int
    id: str
    kind: str
    at: str
    by: str
    caused_by: str | None
    body: str
    previous: str
    hash: str


@dataclass(frozen=True)
class ChainReport:
    """`broken` names the first fact that does not fit, or is None when all hold."""

    checked: int
    head: str
    broken: str | None


def link_hash(
    id_: str, kind: str, at: str, by: str, caused_by: str | None, body: str, previous: str
) -> str:
    """Keys stand in the order that RFC 8785 asks for, and `body` is canonical already: putting
    the pieces together costs a tenth of canonicalising the whole.

    >>> from seamline.store.canonical import canonical_json, digest_of_json
    >>> whole = {"id": "1", "kind": "a.b", "at": "now", "by": "zoë", "caused_by": None,
    ...          "body": {"n": 1, "a": "\\n"}, "previous": GENESIS}
    >>> body = canonical_json(whole["body"]).decode()
    >>> link_hash("1", "a.b", "now", "zoë", None, body, GENESIS) == digest_of_json(whole)
    True
    """
    text = (
        f'{{"at":{_SAID(at)},"body":{body},"by":{_SAID(by)},"caused_by":{_SAID(caused_by)},'
        f'"id":{_SAID(id_)},"kind":{_SAID(kind)},"previous":{_SAID(previous)}}}'
    )
    return str(digest_of(text.encode()))


def verify_links(links: Iterable[Link]) -> ChainReport:
    """Recompute every link, from the first one on; the first that does not fit is named."""
    previous, checked = GENESIS, 0
    for link in links:
        if not fits(link, checked + 1, previous):
            return ChainReport(checked, previous, link.id)
        previous, checked = link.hash, checked + 1
    return ChainReport(checked, previous, None)


def fits(link: Link, chain_seq: int, previous: str) -> bool:
    """Whether it is the one that follows `previous`."""
    return (
        link.chain_seq == chain_seq
        and link.previous == previous
        and link.hash
        == link_hash(link.id, link.kind, link.at, link.by, link.caused_by, link.body, previous)
    )
