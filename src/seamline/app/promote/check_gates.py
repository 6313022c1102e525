"""The gates of one promotion, each decided once in a round of checks.

Quick ones first. Those that run something are begun where the release's bytes are what was signed,
and looked at again until they are decided; meanwhile the promotion stays where it is.
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError

from seamline.app.platform import Platform
from seamline.app.promote.gates import Gate, gates_of, is_slow
from seamline.domain.errors import SeamlineError
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_results import GateResult, gate_results, record_gate
from seamline.promote.policy import INTEGRITY
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.promote.rounds import decided_in, find_round

_LOG = logging.getLogger("seamline.gates")


def check_gates(platform: Platform, promotion: Promotion, release: StoredRelease) -> bool:
    """Whether all of them are decided; those that are not go on by themselves."""
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        here = find_round(connection, promotion)
        decided = decided_in(connection, promotion, here)
    gates = gates_of(platform, policy, promotion, release)
    left = {name: gate for name, gate in gates.items() if name not in decided}
    going = False
    for name in sorted(left, key=is_slow):
        result = _why_not_run(platform, promotion, name) or decide_gate(
            platform, name, left[name], promotion, release
        )
        if result is None:
            going = True
        else:
            record_gate(platform.stores, promotion.id, result, by="seamline", caused_by=here)
    return not going


def decide_gate(
    platform: Platform, name: str, gate: Gate, promotion: Promotion, release: StoredRelease
) -> GateResult | None:
    """None while it goes on. A gate that breaks is an error, not a failed check (law 7); what the
    database or a disk does is tried again."""
    try:
        found = gate(platform, promotion, release)
        return None if found is None else found.kept()
    except SeamlineError as error:
        return GateResult(name, Verdict.ERROR, str(error), {"error": error.message}).kept()
    except (SQLAlchemyError, OSError):
        raise
    except Exception as error:
        _LOG.exception("the gate %s of promotion %s broke", name, promotion.id)
        broken = GateResult(name, Verdict.ERROR, f"it broke: {error!r}", {"error": repr(error)})
        return broken.kept()


def _why_not_run(platform: Platform, promotion: Promotion, name: str) -> GateResult | None:
    """Bytes that are not what was signed are not run, whoever asks."""
    if not is_slow(name):
        return None
    with platform.stores.db.read() as connection:
        results = gate_results(connection, promotion.id)
    shut = [
        one.gate for one in results if one.gate in INTEGRITY and one.verdict is not Verdict.PASS
    ]
    if not shut:
        return None
    sentence = f"nothing of the release was run, since {' and '.join(shut)} did not pass"
    return GateResult(name, Verdict.INCONCLUSIVE, sentence, {"shut": shut})
