"""[environments.NAME.gate.*] and [environments.NAME.check.*]: read, refused, part of the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seamline.domain.errors import InvalidInput
from seamline.domain.states import PromotionKind
from seamline.project.file import read_project_file
from seamline.project.policies import policies_of
from seamline.promote.gate_rules import GateRules, SecurityRule
from seamline.promote.loosened import loosened_rules
from seamline.promote.policy import (
    DEFAULT_POLICIES,
    CustomCheck,
    EnvironmentPolicy,
    gates_asked,
)

HEAD = 'project = "platform"\nteam = "platform"\n'
DECLARED = """
[environments.staging]
gates = ["security"]

[environments.staging.gate.security]
advisories = "/srv/advisories"
oldest = "2d"

[environments.staging.check.late-share]
timeout = "5m"
models = ["late-arrival"]
"""


def read(text: str) -> EnvironmentPolicy:
    [policy] = policies_of(read_project_file(HEAD + text).declarations)
    return policy


def test_limits_and_own_checks_reach_the_policy_and_come_back_from_it() -> None:
    policy = read(DECLARED)
    assert policy.gate.security == SecurityRule("/srv/advisories", "2d")
    assert policy.checks == (CustomCheck("late-share", "late-share", 300.0, ("late-arrival",)),)
    assert EnvironmentPolicy.from_json(policy.to_json()) == policy
    assert gates_asked(policy, PromotionKind.REGULAR)[-2:] == ("check:late-share", "policy")


def test_a_policy_that_says_nothing_of_gates_keeps_its_digest() -> None:
    """Literal, from before there were limits: approvals of that time bind these."""
    assert [one.digest[7:15] for one in DEFAULT_POLICIES] == [
        *("9ccbc863", "28bda00e", "263c737a", "d31a74c5")
    ]
    said = read('[environments.staging]\n[environments.staging.gate.security]\noldest = "7d"\n')
    assert said.digest == read("[environments.staging]\n").digest
    assert said.digest != read(DECLARED).digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[environments.a.gate.securty]\noldest = "1d"', "Did you mean security?"),
        ('[environments.a.gate.security]\nolder = "1d"', "Did you mean oldest?"),
        ('[environments.a.gate.security]\noldest = "a week"', "oldest: 'a week' is not a duration"),
        ('[environments.a.gate.security]\nadvisories = "osv"', "is a relative path"),
        ('[environments.a.check.x]\ntimeout = "soon"', "'soon' is not a duration"),
        ("[environments.a.check.X_y]\n", "cannot be a name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        read_project_file(HEAD + text)
    assert "seamline.toml:" in caught.value.message


def test_what_is_looser_is_told() -> None:
    strict = EnvironmentPolicy(
        "qa", gates=("security",), gate=GateRules(security=SecurityRule("/a", "2d"))
    )
    own = CustomCheck("c", "c")
    assert loosened_rules(
        replace(strict, checks=(own, CustomCheck("d", "d"))),
        EnvironmentPolicy(
            "qa", gates=strict.gates, checks=(CustomCheck("c", "other", models=("m",)),)
        ),
    ) == (
        "the gate check:d is not asked for any more",
        "the gate check:c runs other, not c",
        "the gate check:c is asked of m only",
        "the gate security.advisories: /a → none",
        "the gate security.oldest: 2d → 7d",
    )
    assert loosened_rules(EnvironmentPolicy("qa"), EnvironmentPolicy("qa", checks=(own,))) == ()
