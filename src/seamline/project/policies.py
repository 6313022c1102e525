"""[environments.*] as policies."""

from __future__ import annotations

import json
import re

from seamline.app.declarations import Declarations, EnvironmentDeclaration
from seamline.domain.durations import parse_duration_s
from seamline.domain.states import Promotes
from seamline.project.reader import Source
from seamline.promote.policy import (
    ApprovalRule,
    BreakGlassRule,
    CustomCheck,
    EnvironmentPolicy,
    ExternalGate,
)
from seamline.promote.windows import parse_window
from seamline.trust.keys import parse_public_key

_CHECK = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


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
    for name, check in one.check.items():
        if not _CHECK.fullmatch(name):
            raise source.error(
                f"{here}.check.{name}",
                f"{name!r} cannot be a name.",
                "Use lower-case letters, digits and - (at most 63).",
            )
        source.pointing(f"{here}.check.{name}.timeout", parse_duration_s, check.timeout)
    _check_servers(one, source)
    _check_parameters(one, source)
    counts = {"min_successes": one.min_successes}
    if one.approvals is not None:
        counts["approvals.count"] = one.approvals.count
    for key, count in counts.items():
        if count < 1:
            where = f"{here}.{key}"
            raise source.error(where, f"{where} has to be 1 or more, not {count}.")
    if one.warm < 0:
        raise source.error(f"{here}.warm", f"{here}.warm has to be 0 or more, not {one.warm}.")


def _check_parameters(one: EnvironmentDeclaration, source: Source) -> None:
    here = f"environments.{one.name}"
    if one.data_root is not None and "data_root" in one.parameters:
        raise source.error(f"{here}.data_root", f"{here} names its data_root twice.")
    for name, value in one.parameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            where = f"{here}.parameters.{name}"
            raise source.error(where, f"{where} cannot be an argument: {value!r}.") from None


def _check_servers(one: EnvironmentDeclaration, source: Source) -> None:
    here = f"environments.{one.name}"
    if one.url is not None and not one.url.startswith(("https://", "http://")):
        raise source.error(
            f"{here}.url", f"{here}.url has to be an http(s) address, not {one.url!r}."
        )
    if one.url is not None and one.after is None:
        raise source.error(
            f"{here}.url", f"{here} has a url and comes after nothing: there is nothing to send."
        )
    if one.url is not None and one.promotes is Promotes.CODE:
        raise source.error(
            f"{here}.promotes",
            f"{here} is live on another server: what it promotes, the file there says.",
        )
    if one.url is None and one.secret is not None:
        raise source.error(f"{here}.secret", f"{here}.secret is for the server that url names.")
    if one.origin is not None:
        source.pointing(f"{here}.origin", parse_public_key, one.origin)


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
        external=tuple(
            ExternalGate(name, gate.url, gate.secret, parse_duration_s(gate.timeout))
            for name, gate in sorted(one.external.items())
        ),
        break_glass=BreakGlassRule(
            one.break_glass.roles, parse_duration_s(one.break_glass.longest)
        ),
        checks=tuple(
            CustomCheck(name, check.pipeline or name, parse_duration_s(check.timeout), check.models)
            for name, check in sorted(one.check.items())
        ),
        gate=one.gate,
        warm=one.warm,
        url=one.url.rstrip("/") if one.url else None,
        secret=one.secret,
        origin=one.origin,
        promotes=one.promotes,
    )
