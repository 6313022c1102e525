"""One gate, asked about one release outside of any promotion.

What it says is recorded nowhere: no approval can bind it and nothing opens by it, so a fact about
it would only look like evidence. Whoever promotes asks all gates anew. Gates that run something do
so under law 4: only of a release that is live in the environment, or being checked for it. Others'
decisions (`external:…`) are theirs about a promotion, and are not asked for without one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.check_gates import decide_gate
from seamline.app.promote.gate_work import GateWork
from seamline.app.promote.gates import GATES, Gate, gates_of, is_slow
from seamline.app.promote.plan_promotion import planned_promotion
from seamline.domain.clock import iso, new_id
from seamline.domain.digests import short
from seamline.domain.errors import Refused, Unavailable, not_found
from seamline.promote.admission import find_admitted
from seamline.promote.environments import Environment, find_environment
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import CHECK, EXTERNAL, FORMATS
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease, find_release

#: Below what a client waits for an answer.
LONGEST_S = 540.0


def ask_gate(
    platform: Platform,
    name: str,
    reference: str,
    environment: str,
    *,
    by: str,
    longest_s: float = LONGEST_S,
) -> dict[str, Any]:
    """The verdict with its evidence. Refused where law 4 lets nothing run; Unavailable where it
    does not end in time (what it began goes on to its own end)."""
    stores = platform.stores
    with stores.db.read() as connection:
        release = find_release(connection, reference)
        target = find_environment(connection, environment)
    planned = replace(
        planned_promotion(release, environment, by, iso(stores.clock.now())),
        id=new_id(stores.clock),
    )
    gate = _gate(platform, name, target, planned, release)
    if is_slow(name):
        _check_admitted(platform, release, environment, name)
    # Work of its own: what the loop asks for is kept or dropped by promotion, and this is none.
    alone = replace(platform, gate_work=GateWork())
    found: list[GateResult] = []

    def is_decided() -> bool:
        result = decide_gate(alone, name, gate, planned, release)
        found.extend([result] if result is not None else [])
        return bool(found)

    if not platform.changes.wait_until(is_decided, longest_s):
        raise Unavailable(
            f"The gate {name} did not decide about {release.alias} within {longest_s:.0f} s.",
            next_step="Ask again later, or promote: a promotion waits for it.",
        )
    return {
        **found[0].to_json(),
        "release": release.digest,
        "release_alias": release.alias,
        "environment": environment,
        "policy_digest": target.policy.digest,
    }


def _gate(
    platform: Platform, name: str, target: Environment, planned: Promotion, release: StoredRelease
) -> Gate:
    """Also one that the environment does not ask for; what only its policy declares has to be
    there."""
    if name.startswith(EXTERNAL):
        raise Refused(
            f"{name} is somebody else's decision about a promotion, and there is none.",
            next_step=f"Promote: seamline promote {release.alias} --to {target.name}.",
        )
    asked = gates_of(platform, target.policy, planned, release)
    gate = asked.get(name) or GATES.get(name)
    if gate is not None:
        return gate
    if name == FORMATS:
        raise Refused(f"{release.alias} holds no model that runs code when it is loaded.")
    known = [*GATES, FORMATS, *(one for one in asked if one.startswith(CHECK))]
    raise not_found("gate", name, known)


def _check_admitted(
    platform: Platform, release: StoredRelease, environment: str, name: str
) -> None:
    with platform.stores.db.read() as connection:
        admitted = find_admitted(connection, environment).releases
    if release.digest not in {one.digest for one in admitted}:
        raise Refused(
            f"The gate {name} runs what is in {release.alias} ({short(release.digest)}), and that "
            f"is neither live in {environment} nor being checked for it.",
            next_step=f"Promote it: seamline promote {release.alias} --to {environment}.",
        )
