"""Gates, one file each: evidence in, verdict out. None may be opened by anything but evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from seamline.app.platform import Platform
from seamline.app.promote.gates import (
    backtest,
    code,
    custom,
    data_contract,
    digests,
    evaluation,
    external,
    formats,
    infrastructure,
    interface,
    likeness,
    load,
    pipeline,
    policy,
    provenance,
    security,
    soak,
    successes,
)
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import (
    CHECK,
    CODE,
    FORMATS,
    POLICY,
    EnvironmentPolicy,
    check_name,
    external_name,
    gates_asked,
)
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease

#: None: it goes on by itself, and is to be asked again.
Gate = Callable[[Platform, Promotion, StoredRelease], GateResult | None]

GATES: Mapping[str, Gate] = {
    "digests": digests.check,
    "provenance": provenance.check,
    "data_contract": data_contract.check,
    "likeness": likeness.check,
    "evaluation": evaluation.check,
    "backtest": backtest.check,
    "security": security.check,
    "successes": successes.check,
    "soak": soak.check,
    "pipeline": pipeline.check,
    "infrastructure": infrastructure.check,
    "interface": interface.check,
    "load": load.check,
    POLICY: policy.check,
    CODE: code.check,
}


#: They run something: begun once the others are decided, and never by a plan.
SLOW = frozenset({"pipeline", "infrastructure", "load"})


def is_slow(name: str) -> bool:
    return name in SLOW or name.startswith(CHECK)


def gates_of(
    platform: Platform, rules: EnvironmentPolicy, promotion: Promotion, release: StoredRelease
) -> dict[str, Gate]:
    """What is asked of this promotion, by name; also what no policy has to name."""
    outside: dict[str, Gate] = {
        check_name(one): partial(custom.check, check=one) for one in rules.checks
    }
    outside |= {external_name(one): partial(external.check, gate=one) for one in rules.external}
    asked = {
        name: outside[name] if name in outside else GATES[name]
        for name in gates_asked(rules, promotion.kind)
    }
    return asked | ({FORMATS: formats.check} if formats.is_needed(platform, release) else {})
