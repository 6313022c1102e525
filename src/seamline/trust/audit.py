"""The ledger outside of its workspace: signed heads (anchors), exports, and their verification.

An export is JSON lines: a header with the key history and the signed head, then every governance
fact in order. It is verified without the workspace that it came from. An anchor is a signed head
that was put somewhere else earlier (a file, a git tag): it tells a tail that was cut off, or a
ledger that was written anew by somebody who holds the key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.store.canonical import canonical_json
from seamline.store.chain import GENESIS, Link, fits
from seamline.trust.audit_approvals import ApprovalsAudit
from seamline.trust.key_history import KeyHistory, check_pin, read_history
from seamline.trust.keys import PublicKey
from seamline.trust.statements import open_envelope

HEAD_TYPE = "application/vnd.seamline.audit-head+json"
SCHEMA = 1
_BODY = '{"body":'
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class AuditHead:
    """How far the chain went, and its last hash."""

    chain_seq: int
    hash: str
    at: str


@dataclass(frozen=True)
class AuditReport:
    """`problems` is empty where all holds; the first one is the earliest in the chain.

    `signed`: of the approvals, those that bear a valid signature of their approver's own key.
    """

    facts: int
    head: str
    exported_at: str
    anchors: int
    problems: tuple[str, ...]
    approvals: int = 0
    signed: int = 0
    self_approved: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def head_payload(head: AuditHead) -> bytes:
    return canonical_json({"schema": SCHEMA, **asdict(head)})


def open_head(envelope: bytes, trusted: Sequence[PublicKey]) -> AuditHead:
    """Refused unless one of these keys signed it."""
    document = json.loads(open_envelope(envelope, HEAD_TYPE, trusted))
    if document.get("schema") != SCHEMA:
        raise InvalidInput(f"The head has schema {document.get('schema')}, wanted {SCHEMA}.")
    return AuditHead(int(document["chain_seq"]), str(document["hash"]), str(document["at"]))


def write_export(head: bytes, keys: Sequence[bytes], links: Iterable[Link]) -> Iterator[bytes]:
    """`head`: the signed envelope; `keys`: the history's envelopes."""
    header = {
        "kind": "seamline-audit",
        "schema": SCHEMA,
        "head": head.decode(),
        "keys": [key.decode() for key in keys],
    }
    yield canonical_json(header) + b"\n"
    for link in links:
        said = {name: value for name, value in link._asdict().items() if name != "body"}
        yield f'{{"body":{link.body},{json.dumps(said)[1:]}\n'.encode()


def verify_export(
    lines: Iterable[bytes],
    pin: str | None = None,
    anchors: Sequence[bytes] = (),
    approvers: Mapping[str, str] | None = None,
) -> AuditReport:
    """`pin`: id or public key of one of the workspace's keys, known from elsewhere; without it the
    signatures say that the file is one piece, not whose. `approvers`: name → id or public key of
    theirs, known from elsewhere. InvalidInput where it is no export;
    Refused where its keys are not the pinned workspace's."""
    rest = iter(lines)
    header = _header(next(rest, b""))
    history = read_history([str(key).encode() for key in header["keys"]])
    if pin is not None:
        check_pin(history, pin)
    head = open_head(str(header["head"]).encode(), [history.current.public])
    wanted, problems = _anchors(anchors, history)
    chain, approvals = _Chain(), ApprovalsAudit(approvers)
    for line in rest:
        broken = chain.take(line)
        if broken is not None:
            problems.insert(0, broken)
            break
        approvals.take(chain.checked, chain.last)
    else:
        problems += chain.compare(head, f"signed when it was exported, at {head.at},")
    for anchor in wanted:
        problems += chain.compare(anchor, f"anchored at {anchor.at}")
    problems += approvals.finish()
    return AuditReport(
        chain.checked,
        chain.head,
        head.at,
        len(wanted),
        tuple(problems),
        approvals.given,
        approvals.signed,
        approvals.self_approved,
    )


class _Chain:
    """What was verified so far: each hash by its number."""

    def __init__(self) -> None:
        self._hashes = [GENESIS]
        self.last: Link

    @property
    def checked(self) -> int:
        return len(self._hashes) - 1

    @property
    def head(self) -> str:
        return self._hashes[-1]

    def take(self, line: bytes) -> str | None:
        """What is wrong with the next line; None where it follows."""
        number = self.checked + 1
        try:
            link = _as_written(line)
            does_fit = link is not None and fits(link, number, self.head)
            if link is None or not does_fit:  # some tool may have written it anew
                link = _as_recorded(line)
                does_fit = fits(link, number, self.head)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"Line {number + 1} is no fact ({error!r})."
        if not does_fit:
            return (
                f"The chain breaks at fact {number}: {link.id} ({link.kind} by {link.by} at "
                f"{link.at}) is not what was recorded, or facts before it are missing."
            )
        self._hashes.append(link.hash)
        self.last = link
        return None

    def compare(self, head: AuditHead, which: str) -> list[str]:
        if head.chain_seq > self.checked:
            missing = head.chain_seq - self.checked
            return [
                f"The chain ends at fact {self.checked}; the head {which} is number "
                f"{head.chain_seq}: {missing} facts at the end are missing or broken."
            ]
        if self._hashes[head.chain_seq] != head.hash:
            return [
                f"Fact {head.chain_seq} is not the one of the head {which}: the ledger was written "
                "anew."
            ]
        return []


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        if (header["kind"], header["schema"]) == ("seamline-audit", SCHEMA):
            return {"head": header["head"], "keys": list(header["keys"])}
    except (ValueError, KeyError, TypeError):
        pass
    raise InvalidInput(
        "This is no export of a ledger.", next_step="Make one: seamline audit export FILE."
    )


def _anchors(envelopes: Sequence[bytes], history: KeyHistory) -> tuple[list[AuditHead], list[str]]:
    heads, problems = [], []
    for envelope in envelopes:
        try:
            heads.append(open_head(envelope, history.keys))
        except SeamlineError as error:
            problems.append(f"An anchor is not this workspace's: {error.message}")
    return sorted(heads, key=lambda head: head.chain_seq), problems


def _as_written(line: bytes) -> Link | None:
    """A line of `write_export`: the body first, and in it the very text that was hashed."""
    try:
        text = line.decode()
        if not text.startswith(_BODY):
            return None
        _, end = _DECODER.raw_decode(text, len(_BODY))
        return Link(body=text[len(_BODY) : end], **json.loads("{" + text[end + 1 :]))
    except (ValueError, TypeError, AttributeError):
        return None


def _as_recorded(line: bytes) -> Link:
    """The body in the one form that is hashed, however it is written here."""
    document = json.loads(line)
    body = canonical_json(document.pop("body")).decode()
    return Link(body=body, **document)
