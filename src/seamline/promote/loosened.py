"""Which rules of a policy ask for less than they did: named where a promotion relies on them."""

from __future__ import annotations

from collections.abc import Iterable

from seamline.domain.durations import say_duration
from seamline.domain.states import Fidelity, Promotes
from seamline.promote.gate_rules import loosened_limits
from seamline.promote.policy import EnvironmentPolicy, check_name, external_name


def loosened_rules(before: EnvironmentPolicy, after: EnvironmentPolicy) -> tuple[str, ...]:
    """A sentence for each rule that asks for less, or lets in more.

    >>> from dataclasses import replace
    >>> strict = EnvironmentPolicy("qa", "dev", ("digests",), soak_s=7200)
    >>> loosened_rules(strict, replace(strict, gates=(), soak_s=3600))
    ('the gate digests is not asked for any more', 'soak: 2 h → 1 h')
    >>> loosened_rules(strict, replace(strict, gates=("digests", "soak"), soak_s=7201))
    ()
    """
    return (
        *_about_checks(before, after),
        *_about_people(before, after),
        *_about_time(before, after),
    )


def _about_checks(before: EnvironmentPolicy, after: EnvironmentPolicy) -> Iterable[str]:
    if before.after is not None and after.after != before.after:
        yield f"comes after {after.after or 'nothing'}, where it came after {before.after}"
    asked = {*after.gates, *_declared(after)}
    for gate in (*before.gates, *_declared(before)):
        if gate not in asked:
            yield f"the gate {gate} is not asked for any more"
    yield from _about_own_checks(before, after)
    for said in loosened_limits(before.gate, after.gate, before.gates):
        yield f"the gate {said}"
    moved = {one.name: one.url for one in after.external}
    for one in before.external:
        if moved.get(one.name, one.url) != one.url:
            yield f"the gate {external_name(one)} is asked at {moved[one.name]}, not at {one.url}"
    if after.min_successes < before.min_successes:
        yield f"min_successes: {before.min_successes} → {after.min_successes}"
    if _weight(after.fidelity) < _weight(before.fidelity):
        yield f"fidelity: {before.fidelity} → {after.fidelity or 'any'}"
    if after.promotes is not before.promotes and after.promotes is Promotes.CODE:
        yield "what goes live is trained there, and was live nowhere before"
    if before.origin is not None and after.origin != before.origin:
        yield "releases of another origin may come in"
    if after.url != before.url:
        yield f"live on {after.url or 'this server'}, not on {before.url or 'this server'}"
    added = sorted(set(after.formats) - set(before.formats))
    if added:
        yield f"models may come in as {', '.join(added)}, which run code when they are loaded"


def _declared(policy: EnvironmentPolicy) -> tuple[str, ...]:
    return (*map(check_name, policy.checks), *map(external_name, policy.external))


def _about_own_checks(before: EnvironmentPolicy, after: EnvironmentPolicy) -> Iterable[str]:
    now = {one.name: one for one in after.checks}
    for one in before.checks:
        new = now.get(one.name, one)
        if new.pipeline != one.pipeline:
            yield f"the gate {check_name(one)} runs {new.pipeline}, not {one.pipeline}"
        if new.models and (not one.models or set(one.models) - set(new.models)):
            yield f"the gate {check_name(one)} is asked of {', '.join(new.models)} only"


def _about_people(before: EnvironmentPolicy, after: EnvironmentPolicy) -> Iterable[str]:
    old, new = before.approvals, after.approvals
    if new.count < old.count:
        yield f"approvals: {old.count} → {new.count}"
    if new.count:
        added = [role.value for role in new.roles if role not in old.roles]
        if added and old.count:
            yield f"{' and '.join(added)} may approve, too"
        for party in old.exclude:
            if party not in new.exclude:
                yield f"the {party} may approve"
    if after.automatic and not before.automatic:
        yield "asked for by the platform itself"
    opened = [
        role.value for role in after.break_glass.roles if role not in before.break_glass.roles
    ]
    if opened:
        yield f"{' and '.join(opened)} may break the glass"
    if after.break_glass.longest_s > before.break_glass.longest_s:
        shorter, longer = before.break_glass.longest_s, after.break_glass.longest_s
        yield f"broken glass lasts: {say_duration(shorter)} → {say_duration(longer)}"


def _about_time(before: EnvironmentPolicy, after: EnvironmentPolicy) -> Iterable[str]:
    if after.soak_s < before.soak_s:
        yield f"soak: {say_duration(before.soak_s)} → {say_duration(after.soak_s)}"
    if before.windows and not after.windows:
        yield f"at any time, not only {'; '.join(before.windows)}"
    elif before.windows and set(after.windows) - set(before.windows):
        added = [text for text in after.windows if text not in before.windows]
        yield f"also {'; '.join(added)}"


def _weight(fidelity: Fidelity | None) -> int:
    return -1 if fidelity is None else list(Fidelity).index(fidelity)
