"""Gates, one file each: evidence in, verdict out. None may be opened by anything but evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from seamline.app.platform import Platform
from seamline.app.promote.gates import (
    code,
    digests,
    evaluation,
    external,
    formats,
    policy,
    provenance,
    soak,
    successes,
)
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import (
    CODE,
    FORMATS,
    POLICY,
    EnvironmentPolicy,
    external_name,
    gates_asked,
)
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease

Gate = Callable[[Platform, Promotion, StoredRelease], GateResult]

GATES: Mapping[str, Gate] = {
    "digests": digests.check,
    "provenance": provenance.check,
    "evaluation": evaluation.check,
    "successes": successes.check,
    "soak": soak.check,
    POLICY: policy.check,
    CODE: code.check,
}


def gates_of(
    platform: Platform, rules: EnvironmentPolicy, promotion: Promotion, release: StoredRelease
) -> dict[str, Gate]:
    """What is asked of this promotion, by name; also what no policy has to name."""
    outside = {external_name(one): partial(external.check, gate=one) for one in rules.external}
    asked = {
        name: outside[name] if name in outside else GATES[name]
        for name in gates_asked(rules, promotion.kind)
    }
    return asked | ({FORMATS: formats.check} if formats.is_needed(platform, release) else {})
