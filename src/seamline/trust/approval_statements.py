"""What an approver signs with their own key: all that the approval binds, and who gives it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from seamline.domain.errors import Conflict
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.statements import open_envelope, sign_envelope

APPROVAL_TYPE = "application/vnd.seamline.approval+json"


@dataclass(frozen=True)
class ApprovalStatement:
    promotion_id: str
    release: str
    environment: str
    policy_digest: str
    evidence_digest: str
    comment: str
    approver: str

    def to_json(self) -> dict[str, Any]:
        return {"schema": 1, **asdict(self)}


def sign_approval(statement: ApprovalStatement, key: SigningKey) -> bytes:
    return sign_envelope(APPROVAL_TYPE, canonical_json(statement.to_json()), key)


def check_approval(envelope: bytes, wanted: ApprovalStatement, key: PublicKey) -> None:
    """Raises Refused unless this key signed it, Conflict where it says anything else."""
    said = json.loads(open_envelope(envelope, APPROVAL_TYPE, [key]))
    stands = wanted.to_json()
    other = sorted(
        name for name in stands.keys() | said.keys() if said.get(name) != stands.get(name)
    )
    if other:
        raise Conflict(
            f"What {wanted.approver} signed is not what stands: "
            + "; ".join(
                f"{name} is {stands.get(name)!r}, signed {said.get(name)!r}" for name in other
            )
            + ".",
            next_step="Look at it again, and sign what stands now.",
        )
