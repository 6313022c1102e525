"""Approvals in a ledger, judged offline: whose own key signed them, of what the ledger says.

Keys are believed as the ledger tells them, which whoever holds the workspace's key could have
written; an approver's public key that is known from elsewhere can be pinned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seamline.domain.errors import SeamlineError
from seamline.store.chain import Link
from seamline.trust.approval_statements import ApprovalStatement, check_approval
from seamline.trust.keys import PublicKey, parse_public_key

_KINDS = frozenset(
    {"approver_key.added", "approver_key.ended", "approval.given", "approval.signed"}
)


class ApprovalsAudit:
    """Fed with each fact in the ledger's order."""

    def __init__(self, pins: Mapping[str, str] | None = None) -> None:
        """`pins`: approver → id or text of their public key."""
        self._pins = dict(pins or {})
        self._keys: dict[str, tuple[str, PublicKey | None]] = {}
        #: (promotion, approver) → the approval that has to be signed and is not yet.
        self._unsigned: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = {}
        self.given = self.signed = self.self_approved = 0
        self.problems: list[str] = []

    def take(self, number: int, link: Link) -> None:
        if link.kind not in _KINDS:
            return
        by, body = link.by, json.loads(link.body)
        match link.kind:
            case "approver_key.added":
                self._keys[body["principal"]] = (body["key_id"], _public(body["public_key"]))
            case "approver_key.ended":
                self._keys.pop(body["principal"], None)
            case "approval.given":
                self.given += 1
                self.self_approved += bool(body.get("self_approved"))
                if by in self._keys or by in self._pins:
                    self._unsigned[body["promotion_id"], by] = (number, body)
            case "approval.signed":
                self._check(number, by, body)

    def finish(self) -> list[str]:
        """Problems, with what was never signed."""
        return self.problems + [
            f"Fact {number}: the approval of promotion {promotion} by {by} is not signed with "
            "their key."
            for (promotion, by), (number, _) in self._unsigned.items()
        ]

    def _check(self, number: int, by: str, body: Mapping[str, Any]) -> None:
        promotion = body["promotion_id"]
        key_id, key = self._keys.get(by, ("", None))
        _, given = self._unsigned.pop((promotion, by), (0, None))
        where = f"Fact {number}: the approval of promotion {promotion} by {by}"
        if key is None or given is None or key_id != body["key_id"]:
            self.problems.append(f"{where} is signed with a key that was not theirs then.")
            return
        pin = self._pins.get(by)
        if pin is not None and not key.is_called(pin):
            self.problems.append(f"{where} is signed with {key_id}, not with the pinned {pin}.")
            return
        try:
            check_approval(str(body["envelope"]).encode(), _statement(given, by), key)
        except SeamlineError as error:
            self.problems.append(f"{where} does not hold: {error.message}")
            return
        self.signed += 1


def _statement(given: Mapping[str, Any], by: str) -> ApprovalStatement:
    return ApprovalStatement(
        given["promotion_id"],
        given["release"],
        given["environment"],
        given["policy_digest"],
        given["evidence_digest"],
        given["comment"],
        by,
    )


def _public(text: str) -> PublicKey | None:
    try:
        return parse_public_key(text)
    except SeamlineError:
        return None
