"""What each gate proves, what it needs and what opens it: read off the gates' own docstrings.

A gate's module begins with "Gate: …", says in one paragraph what it proves and what not, and ends
with a paragraph "Needs: …" and one "Opens: …".
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.gates import GATES, custom, external, formats, is_slow
from seamline.domain.errors import not_found
from seamline.domain.states import PromotionKind
from seamline.promote.environments import find_environment, list_environments
from seamline.promote.policy import (
    CHECK,
    EXTERNAL,
    FORMATS,
    EnvironmentPolicy,
    check_name,
    external_name,
    gates_asked,
)

_NEEDS, _OPENS = "Needs: ", "Opens: "


@dataclass(frozen=True)
class Guide:
    """`title` is one line, `explains` one paragraph."""

    title: str
    explains: str
    needs: str = ""
    opens: str = ""


def read_guide(check: Callable[..., object]) -> Guide:
    """Of the module that a gate is written in."""
    return parse_guide(sys.modules[check.__module__].__doc__ or "")


def parse_guide(text: str) -> Guide:
    """
    >>> parse_guide("Gate: it is good.\\n\\nOne looks.\\n\\nNeeds: eyes.\\n\\nOpens: be good.")
    Guide(title='it is good.', explains='One looks.', needs='eyes.', opens='be good.')
    """
    parts = [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n")]
    title, told = parts[0].removeprefix("Gate: "), parts[1:]
    needs = next((one for one in told if one.startswith(_NEEDS)), "")
    opens = next((one for one in told if one.startswith(_OPENS)), "")
    rest = [one for one in told if one not in (needs, opens)]
    return Guide(title, " ".join(rest), needs.removeprefix(_NEEDS), opens.removeprefix(_OPENS))


def guides() -> Mapping[str, Guide]:
    """By the gate's name; `check:` and `external:` stand for all of theirs."""
    checks: dict[str, Callable[..., object]] = {
        **GATES,
        FORMATS: formats.check,
        CHECK: custom.check,
        EXTERNAL: external.check,
    }
    return {name: read_guide(check) for name, check in checks.items()}


def find_guide(name: str) -> Guide | None:
    """None for a gate that a later or an earlier version has had."""
    return guides().get(_family(name))


def list_gates(platform: Platform, environment: str | None = None) -> list[dict[str, Any]]:
    """Every gate that there is, and which environments ask for it; of one environment, those that
    it asks for, in the order in which they are asked."""
    policies = _policies(platform, environment)
    names = list(GATES) if environment is None else []
    for policy in policies:
        names += [one for one in _asked(policy) if one not in names]
    known = guides()
    return [
        {
            "gate": name,
            "title": known[_family(name)].title,
            "runs_something": is_slow(name),
            "asked_in": [one.name for one in policies if name in _asked(one)],
        }
        for name in names
    ]


def explain_gate(platform: Platform, name: str) -> dict[str, Any]:
    """Raises NotFound with the nearest name."""
    policies, known = _policies(platform, None), guides()
    asked = {one for policy in policies for one in _asked(policy)}
    if name not in known and name not in asked:
        raise not_found("gate", name, [*GATES, FORMATS, *asked])
    return {
        "gate": name,
        **asdict(known[_family(name)]),
        "runs_something": is_slow(name),
        "asked_in": [one.name for one in policies if name in _asked(one)],
        "limits": {one.name: _limits(one, name) for one in policies if name in _asked(one)},
    }


def _policies(platform: Platform, environment: str | None) -> Sequence[EnvironmentPolicy]:
    with platform.stores.db.read() as connection:
        if environment is not None:
            return [find_environment(connection, environment).policy]
        return [one.policy for one in list_environments(connection)]


def _asked(policy: EnvironmentPolicy) -> tuple[str, ...]:
    return gates_asked(policy, PromotionKind.REGULAR) if policy.after is not None else ()


def _limits(policy: EnvironmentPolicy, name: str) -> dict[str, Any]:
    """What the environment's policy says of it: limits, a pipeline, an address."""
    if name in {one.name for one in fields(policy.gate)}:
        return asdict(getattr(policy.gate, name))
    own = {check_name(one): asdict(one) for one in policy.checks}
    outside = {
        external_name(one): {"url": one.url, "timeout_s": one.timeout_s} for one in policy.external
    }
    rest: dict[str, dict[str, Any]] = {
        "soak": {"soak_s": policy.soak_s},
        "successes": {"min_successes": policy.min_successes, "fidelity": policy.fidelity},
        FORMATS: {"formats": list(policy.formats)},
    }
    return {**own, **outside, **rest}.get(name, {})


def _family(name: str) -> str:
    return next((prefix for prefix in (CHECK, EXTERNAL) if name.startswith(prefix)), name)
