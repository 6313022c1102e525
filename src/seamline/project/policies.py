"""[environments.*] as policies."""

from __future__ import annotations

from seamline.app.declarations import Declarations, EnvironmentDeclaration
from seamline.domain.durations import parse_duration_s
from seamline.project.reader import Source
from seamline.promote.policy import ApprovalRule, BreakGlassRule, EnvironmentPolicy, ExternalGate
from seamline.promote.windows import parse_window


def policies_of(declarations: Declarations) -> tuple[EnvironmentPolicy, ...]:
    return tuple(_policy(one) for one in declarations.environments.values())


def check_environment(one: EnvironmentDeclaration, source: Source) -> None:
    """What types cannot say: InvalidInput that points at the line."""
    here = f"environments.{one.name}"
    source.pointing(f"{here}.soak", parse_duration_s, one.soak)
    source.pointing(f"{here}.break_glass.longest", parse_duration_s, one.break_glass.longest)
    for text in one.windows:
        source.pointing(f"{here}.windows", parse_window, text)
    for name, gate in one.external.items():
        source.pointing(f"{here}.external.{name}.timeout", parse_duration_s, gate.timeout)
        if not gate.url.startswith(("https://", "http://")):
            where = f"{here}.external.{name}.url"
            raise source.error(where, f"{where} has to be an http(s) address, not {gate.url!r}.")
    counts = {"min_successes": one.min_successes}
    if one.approvals is not None:
        counts["approvals.count"] = one.approvals.count
    for key, count in counts.items():
        if count < 1:
            where = f"{here}.{key}"
            raise source.error(where, f"{where} has to be 1 or more, not {count}.")
    if one.warm < 0:
        raise source.error(f"{here}.warm", f"{here}.warm has to be 0 or more, not {one.warm}.")


def _policy(one: EnvironmentDeclaration) -> EnvironmentPolicy:
    asked = one.approvals
    return EnvironmentPolicy(
        one.name,
        one.after,
        one.gates,
        ApprovalRule(asked.count, asked.roles, asked.not_) if asked else ApprovalRule(),
        parse_duration_s(one.soak),
        one.automatic,
        tuple(form.value for form in one.formats),
        one.min_successes,
        one.fidelity,
        one.windows,
        tuple(
            ExternalGate(name, gate.url, gate.secret, parse_duration_s(gate.timeout))
            for name, gate in sorted(one.external.items())
        ),
        BreakGlassRule(one.break_glass.roles, parse_duration_s(one.break_glass.longest)),
        one.warm,
    )
