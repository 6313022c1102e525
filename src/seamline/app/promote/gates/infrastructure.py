"""Gate: each package installs into a fresh environment, loads there, and says what it said.

Each package of the release is installed, with exactly the requirements that it names, into an
environment made for this alone; there a process of its own verifies its bytes, loads it as a
serving worker does, and answers the sample rows that were packaged with it. The answers have to be
those of packaging (floats within 1e-5 of the value), within the memory limit and the time limit.
It proves that the package holds all that it needs and that other machines of this kind answer
alike; nothing that happened to be installed can help it. It does not prove that the model is good,
nor that it is fast under load.

Needs: a package index that answers, and sample rows in the package; without rows, inconclusive. A
release without packages passes, and says so.

Opens: train and package again with what is missing in `packages_to_install`, with smaller models,
or with other limits in `[environments.NAME.gate.infrastructure]`.
"""

from __future__ import annotations

from collections.abc import Sequence

from seamline.app.platform import Platform
from seamline.app.promote.prove_packages import Proof, prove_packages
from seamline.domain.durations import parse_duration_s
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Bar, bars
from seamline.promote.gate_results import GateResult
from seamline.promote.gate_rules import InfrastructureRule
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease

INFRASTRUCTURE = "infrastructure"
_MB = 1_000_000
#: In one sentence, of many models.
_NAMED = 3


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult | None:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    if not release.release.packages:
        sentence = "the release holds no package: there is nothing to install"
        return GateResult(INFRASTRUCTURE, Verdict.PASS, sentence, {"packages": []})
    rule = policy.gate.infrastructure
    key = (promotion.id, INFRASTRUCTURE, policy.digest)
    return platform.gate_work.ask(key, lambda: measure(platform, release, rule))


def measure(platform: Platform, release: StoredRelease, rule: InfrastructureRule) -> GateResult:
    """Takes its time: installers run, and processes."""
    proofs = list(prove_packages(platform, release.release.packages, rule))
    bad = [f"{_name(one)}: {why}" for one in proofs if (why := why_not(one, rule))]
    unproved = [_name(one) for one in proofs if not one.samples and not one.problem]
    evidence = {
        "packages": [one.to_json() for one in proofs],
        "memory_mb": rule.memory_mb,
        "longest_s": parse_duration_s(rule.longest),
        "tolerance": "floats within 1e-5 of the value",
        PICTURE: bars([bar for one in proofs for bar in _bars(one, rule)]),
    }
    if bad:
        return GateResult(INFRASTRUCTURE, Verdict.FAIL, _few(bad), evidence)
    if unproved:
        sentence = f"no sample rows to answer: {_few(unproved)}"
        return GateResult(INFRASTRUCTURE, Verdict.INCONCLUSIVE, sentence, evidence)
    told = _few([_say(one) for one in proofs])
    return GateResult(INFRASTRUCTURE, Verdict.PASS, told, evidence)


def why_not(proof: Proof, rule: InfrastructureRule) -> str:
    """Empty where it may pass.

    >>> from seamline.promote.release import Pin
    >>> proof = Proof(Pin("late", "1.0.0", "sha256:0"), "sha256:1", load_s=121.0, samples=5)
    >>> why_not(proof, InfrastructureRule())
    'it took 121.0 s to load and answer, of at most 120 s'
    """
    if proof.problem:
        return proof.problem
    most_s = parse_duration_s(rule.longest)
    if proof.load_s > most_s:
        return f"it took {proof.load_s:.1f} s to load and answer, of at most {most_s:g} s"
    if proof.peak_bytes > rule.memory_mb * _MB:
        peak = proof.peak_bytes / _MB
        return f"it took {peak:.0f} MB of memory, of at most {rule.memory_mb:g} MB"
    return ""


def _name(proof: Proof) -> str:
    return f"{proof.pin.name} {proof.pin.version}"


def _say(proof: Proof) -> str:
    return (
        f"{_name(proof)} answers its {proof.samples} sample rows in a fresh environment of "
        f"{len(proof.lock)} distributions as when it was packaged "
        f"({proof.load_s:.1f} s, {proof.peak_bytes / _MB:.0f} MB)"
    )


def _few(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def _bars(proof: Proof, rule: InfrastructureRule) -> list[Bar]:
    verdict = Verdict.FAIL if proof.problem else Verdict.PASS
    longest, peak = parse_duration_s(rule.longest), round(proof.peak_bytes / _MB, 1)
    name = _name(proof)
    return [
        Bar(
            f"{name}: memory (MB)",
            peak,
            rule.memory_mb,
            verdict=Verdict.FAIL if peak > rule.memory_mb else verdict,
        ),
        Bar(
            f"{name}: load and answer (s)",
            proof.load_s,
            longest,
            verdict=Verdict.FAIL if proof.load_s > longest else verdict,
        ),
    ]
