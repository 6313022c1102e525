"""Gate: somebody else decides (a change board, a test bench), asked by HTTP.

The question is a POST of JSON: promotion, release with its contents, environment, policy digest,
requester. The answer is JSON: `verdict` (pass, fail, inconclusive), `sentence`, and whatever else
is evidence. With a `secret`, the question is signed: `Seamline-Signature: t=…,v1=…` is the
HMAC-SHA256 of "<t>.<body>" by the secret's key `signing`, so that nobody else can ask; the answer
is believed as the connection is (use https). Anything but such an answer is an error, never a pass.

Needs: `[environments.NAME.external.GATE] url`, and a server there that answers in time.

Opens: whatever that server asks for; its sentence is shown.
"""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.domain.errors import Unavailable
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult, one_line
from seamline.promote.policy import ExternalGate, external_name
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.store.canonical import canonical_json
from seamline.trust.hmac_signing import sign_message
from seamline.trust.secrets import SecretKind, read_value

_LONGEST_ANSWER = 1 << 20
_SAID = (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)
_HOLDS = {"pass": True, "fail": False, "inconclusive": None}


def check(
    platform: Platform, promotion: Promotion, release: StoredRelease, gate: ExternalGate
) -> GateResult:
    """Raises Unavailable where it does not answer as it should: the gate is then an error."""
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    question = {
        "schema": 1,
        "gate": gate.name,
        "promotion_id": promotion.id,
        "environment": promotion.environment,
        "policy_digest": policy.digest,
        "requested_by": promotion.requested_by,
        "release": release.to_json(),
    }
    answer = _ask(platform, promotion, gate, canonical_json(question))
    sentence = one_line(f"{gate.url} says: {answer.get('sentence') or answer['verdict']}")
    return GateResult(
        external_name(gate),
        Verdict(answer["verdict"]),
        sentence,
        {
            "url": gate.url,
            "answer": answer,
            PICTURE: ticks([Tick(gate.name, _HOLDS[answer["verdict"]], gate.url)]),
        },
    )


def _ask(
    platform: Platform, promotion: Promotion, gate: ExternalGate, body: bytes
) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": promotion.id}
    if gate.secret is not None:
        key = read_value(
            platform.stores, promotion.environment, SecretKind.SECRET, gate.secret, "signing"
        )
        headers["Seamline-Signature"] = sign_message(key, iso(platform.stores.clock.now()), body)
    request = urllib.request.Request(gate.url, body, headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=gate.timeout_s) as response:  # noqa: S310
            answer = json.loads(response.read(_LONGEST_ANSWER))
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise Unavailable(f"{gate.url} gave no answer: {error}.") from error
    if not isinstance(answer, dict) or answer.get("verdict") not in _SAID:
        raise Unavailable(
            f"{gate.url} gave no verdict: {str(answer)[:200]}.",
            next_step=f"It has to answer with JSON whose verdict is one of {', '.join(_SAID)}.",
        )
    return answer
