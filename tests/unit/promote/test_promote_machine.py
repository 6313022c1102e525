"""Whatever people, clocks and policies do: nothing is live that its environment's policy did not
allow at that moment, and the facts alone explain all that is.

The judge below knows the rules from the documentation and reads nothing but facts (and the text of
policies, by digest). The last test takes each rule out of the program, one by one: the judge has to
notice, or it would prove nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from seamline.domain.clock import ManualClock, from_iso
from seamline.domain.errors import SeamlineError
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote import approvals, decide, requests, steps
from seamline.promote.approvals import approve, reject
from seamline.promote.environments import (
    apply_policies,
    find_environment,
    find_policy,
    list_environments,
)
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.glass import break_glass, mend_glass
from seamline.promote.holds import lift_holds, set_hold
from seamline.promote.policy import ApprovalRule, EnvironmentPolicy, Party, gates_asked
from seamline.promote.promotion import list_promotions
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import open_stores
from seamline.trust.roles import Principal

NAMES = ("development", "staging", "production")
PEOPLE = {
    "ada": Principal("ada", frozenset({Role.RELEASER})),
    "bea": Principal("bea", frozenset({Role.APPROVER})),
    "cid": Principal("cid", frozenset({Role.APPROVER, Role.RELEASER})),
    "dan": Principal("dan", frozenset({Role.VIEWER})),
    "root": Principal("root", frozenset({Role.ADMIN})),
}
RELEASES = ("r1", "r2", "r3")
#: Who trained which release.
TRAINERS = {"r1": "cid", "r2": "bea", "r3": "ada"}
START = datetime(2026, 3, 27, 6, tzinfo=UTC)


# The judge --------------------------------------------------------------------------------------
@dataclass
class Case:
    """One promotion, as the facts tell it."""

    release: str
    environment: str
    kind: str
    by: str
    glass: str | None = None
    gates: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass
class Judge:
    """Reads facts in order; `objections`: what was not allowed when it happened."""

    policy_text: Callable[[str], EnvironmentPolicy]
    trainers: dict[str, str]
    policies: dict[str, str] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    live: dict[str, tuple[str, str]] = field(default_factory=dict)
    was_live: dict[str, list[str]] = field(default_factory=dict)
    rolled_back: dict[str, set[str]] = field(default_factory=dict)
    holds: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    glass: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    objections: list[str] = field(default_factory=list)

    def read(self, fact: RecordedFact) -> None:
        body = fact.body
        match fact.kind:
            case "policy.applied":
                self.policies[body["environment"]] = body["digest"]
            case "promotion.requested":
                self._open(fact, "regular")
            case "rollback.requested":
                self._open(fact, "rollback")
                if body["release"] not in self.was_live.get(body["environment"], ()):
                    self._object(fact, "rolls back to what was never live")
            case "emergency.requested":
                self._open(fact, "emergency")
            case "gate.decided":
                self.cases[body["promotion_id"]].gates[body["gate"]] = body["verdict"]
            case "approval.given":
                binding = (body["policy_digest"], body["evidence_digest"], body["release"])
                self.cases[body["promotion_id"]].approvals[fact.by] = binding
            case "hold.set":
                self.holds[body["hold_id"]] = (body["environment"], body["release"])
            case "hold.lifted":
                del self.holds[body["hold_id"]]
            case "glass.broken":
                self.glass[body["glass_id"]] = (body["environment"], fact.by, body["until"])
            case "glass.mended":
                del self.glass[body["glass_id"]]
            case "promotion.moved" if body["after"] == "verifying":
                self._judge(fact, self.cases[body["promotion_id"]])
            case "promotion.moved" if body["after"] == "live":
                self._goes_live(fact, self.cases[body["promotion_id"]])

    def _open(self, fact: RecordedFact, kind: str) -> None:
        body = fact.body
        self.cases[body["promotion_id"]] = Case(
            body["release"], body["environment"], kind, fact.by, body.get("glass_id")
        )

    def _goes_live(self, fact: RecordedFact, case: Case) -> None:
        before = self.live.get(case.environment)
        if case.kind == "rollback" and before is not None:
            self.rolled_back.setdefault(case.environment, set()).add(before[0])
        self.live[case.environment] = (case.release, fact.at)
        self.was_live.setdefault(case.environment, []).append(case.release)
        self.rolled_back.get(case.environment, set()).discard(case.release)

    def _judge(self, fact: RecordedFact, case: Case) -> None:
        policy = self.policy_text(self.policies[case.environment])
        asked = ["digests", "provenance"] if case.kind != "regular" else [*policy.gates, "policy"]
        for gate in asked:
            if case.gates.get(gate) != "pass":
                self._object(fact, f"gate {gate} is {case.gates.get(gate)}")
        if case.kind == "emergency":
            environment, by, until = self.glass.get(case.glass or "", ("", "", ""))
            if (environment, by) != (case.environment, case.by) or fact.at >= until:
                self._object(fact, "no glass is broken for it")
        if case.kind == "regular":
            self._judge_regular(fact, case, policy)

    def _judge_regular(self, fact: RecordedFact, case: Case, policy: EnvironmentPolicy) -> None:
        excluded = {
            Party.TRAINER: self.trainers[case.release],
            Party.AUTHOR: "nobody",
            Party.REQUESTER: case.by,
        }
        barred = {excluded[party] for party in policy.approvals.exclude}
        counted = [
            name
            for name, (digest, _, release) in case.approvals.items()
            if digest == policy.digest
            and release == case.release
            and name not in barred
            and PEOPLE[name].roles & set(policy.approvals.roles)
        ]
        if len(counted) < policy.approvals.count:
            self._object(fact, f"approved by {counted}, {policy.approvals.count} were needed")
        for environment, release in self.holds.values():
            if environment == case.environment and release in (None, case.release):
                self._object(fact, "it is on hold")
        after = policy.after or ""
        if after != "dataops":
            upstream = self.live.get(after)
            if case.release not in self.was_live.get(after, ()):
                self._object(fact, f"never live in {after}")
            if policy.soak_s and (
                upstream is None
                or upstream[0] != case.release
                or (from_iso(fact.at) - from_iso(upstream[1])).total_seconds() < policy.soak_s
            ):
                self._object(fact, "not soaked")
        if policy.windows and not 8 <= from_iso(fact.at).hour < 10:
            self._object(fact, "outside of its window")

    def _object(self, fact: RecordedFact, why: str) -> None:
        self.objections.append(f"{fact.kind} {fact.body} at {fact.at}: {why}")


# The machine ------------------------------------------------------------------------------------
ENVIRONMENT = st.sampled_from(NAMES)
PERSON = st.sampled_from(sorted(PEOPLE))
RELEASE = st.sampled_from(RELEASES)
POLICY = st.builds(
    lambda gates, count, exclude, soak, windows: {
        "gates": gates,
        "approvals": ApprovalRule(count, (Role.APPROVER, Role.ADMIN), exclude),
        "soak_s": soak,
        "windows": windows,
    },
    st.sampled_from([(), ("digests",), ("digests", "provenance", "evaluation")]),
    st.integers(0, 2),
    st.sampled_from([tuple(Party), (Party.REQUESTER,), (Party.TRAINER,), ()]),
    st.sampled_from([0.0, 0.0, 3600.0]),
    st.sampled_from([(), (), ("mon-sun 08:00-10:00 UTC",)]),
)


class Platform(RuleBasedStateMachine):
    """Everything that people and the loop can do, in any order; refusals are fine."""

    template: Path
    #: What the policies of all environments ask at first.
    first: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="seamline-machine-"))
        shutil.copytree(self.template, self.root / "workspace")
        self.clock = ManualClock(START)
        self.stores = open_stores(self.root / "workspace", self.clock)
        self.releases = {
            alias: record_release(
                self.stores,
                Release(packages=(Pin("m", alias, f"sha256:{int(alias[1:]):064x}"),)),
                alias,
                by="ada",
            ).digest
            for alias in RELEASES
        }
        trainers = {self.releases[alias]: name for alias, name in TRAINERS.items()}
        self.judge, self.seen = Judge(self._policy_of, trainers), 0
        self.told: dict[str, str | None] = {}
        self.set_policies(dict.fromkeys(NAMES, self.first))

    def teardown(self) -> None:
        self.stores.db.close()
        shutil.rmtree(self.root)

    def set_policies(self, changes: dict[str, dict[str, Any]]) -> None:
        chain = ("dataops", *NAMES)
        policies = [EnvironmentPolicy("dataops")]
        policies += [
            replace(EnvironmentPolicy(name, after), **changes[name])
            for after, name in zip(chain, NAMES, strict=False)
        ]
        self.changes = changes
        with self.stores.db.transaction() as tx:
            apply_policies(tx, self.stores.facts, tuple(policies), by="root")

    @rule(environment=ENVIRONMENT, changed=POLICY)
    def apply_policy(self, environment: str, changed: dict[str, Any]) -> None:
        self.set_policies({**self.changes, environment: changed})

    @rule(hours=st.sampled_from([0.01, 1.0, 2.0, 23.0, -3.0]))
    def time_passes(self, hours: float) -> None:
        """Clocks also jump back."""
        self.clock.advance(hours * 3600)

    @rule(release=RELEASE, environment=ENVIRONMENT, person=PERSON)
    def ask(self, release: str, environment: str, person: str) -> None:
        with suppress(SeamlineError):
            request_promotion(self.stores, release, environment, by=person)

    @rule(environment=ENVIRONMENT, to=st.none() | RELEASE)
    def roll_back(self, environment: str, to: str | None) -> None:
        with suppress(SeamlineError):
            request_rollback(self.stores, environment, "bad", by="bea", to=to)

    @rule(release=RELEASE, environment=ENVIRONMENT, person=PERSON)
    def hurry(self, release: str, environment: str, person: str) -> None:
        with suppress(SeamlineError):
            request_emergency(self.stores, release, environment, by=person)

    @rule(environment=ENVIRONMENT, person=PERSON, lasts_s=st.sampled_from([60.0, 7200.0]))
    def smash(self, environment: str, person: str, lasts_s: float) -> None:
        with suppress(SeamlineError):
            break_glass(self.stores, environment, PEOPLE[person], "fire", lasts_s)

    @rule(environment=ENVIRONMENT)
    def mend(self, environment: str) -> None:
        with suppress(SeamlineError):
            mend_glass(self.stores, environment, by="root")

    @rule(environment=ENVIRONMENT, lifted=st.booleans())
    def hold(self, environment: str, lifted: bool) -> None:
        with suppress(SeamlineError):
            (lift_holds if lifted else set_hold)(self.stores, environment, "why", by="root")

    @rule(environment=ENVIRONMENT, person=PERSON, says=st.sampled_from(["yes", "yes", "yes", "no"]))
    def decide(self, environment: str, person: str, says: str) -> None:
        """People look at what waits; nobody checks their role before the platform does."""
        for one in self._open(environment):
            trained = {TRAINERS[alias]: "trained it" for alias, digest in self.releases.items()
                       if digest == one.release}  # fmt: skip
            parties = {
                Party.TRAINER: trained,
                Party.REQUESTER: {one.requested_by: "asked for it"},
            }
            with suppress(SeamlineError):
                if says == "yes":
                    approve(self.stores, one.id, PEOPLE[person], parties)
                else:
                    reject(self.stores, one.id, PEOPLE[person], "no")

    @rule(
        environment=ENVIRONMENT,
        verdicts=st.lists(st.sampled_from([*[Verdict.PASS] * 6, *Verdict]), min_size=5, max_size=5),
    )
    def go_on(self, environment: str, verdicts: list[Verdict]) -> None:
        """What the loop does, a step at a time."""
        for one in self._open(environment):
            if one.phase is PromotionPhase.CHECKING:
                with self.stores.db.read() as connection:
                    policy = find_environment(connection, environment).policy
                asked = gates_asked(policy, one.kind)
                for gate, verdict in zip(asked, verdicts, strict=False):
                    record_gate(
                        self.stores, one.id, GateResult(gate, verdict, "", {}), by="seamline"
                    )
            if one.phase is PromotionPhase.APPLYING:
                point_environment(self.stores, one.id)
            elif one.phase is not PromotionPhase.VERIFYING:
                advance(self.stores, one.id)

    @rule(environment=ENVIRONMENT, holds=st.sampled_from([True, True, True, False]))
    def verify(self, environment: str, holds: bool) -> None:
        end = PromotionPhase.LIVE if holds else PromotionPhase.FAILED
        for one in self._open(environment):
            if one.phase is PromotionPhase.VERIFYING:
                finish(self.stores, one.id, end, "", caused_by=None)

    @rule(
        environment=ENVIRONMENT,
        release=RELEASE,
        person=PERSON,
        people=st.sets(PERSON),
        verdict=st.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.PASS, Verdict.FAIL]),
        meanwhile=st.sampled_from(["", "", "hold", "policy"]),
    )
    def bring_in(
        self,
        environment: str,
        release: str,
        person: str,
        people: set[str],
        verdict: Verdict,
        meanwhile: str,
    ) -> None:
        """The whole way, as it mostly goes: otherwise little would ever be live."""
        self.ask(release, environment, person)
        self.go_on(environment, [Verdict.PASS] * 5)
        self.go_on(environment, [verdict, *[Verdict.PASS] * 4])
        for name in sorted(people):
            self.decide(environment, name, "yes")
        if people:
            self.go_on(environment, [Verdict.PASS] * 5)
        if meanwhile == "hold":
            set_hold(self.stores, environment, "wait", by="root")
        elif meanwhile == "policy":
            self.apply_policy(environment, {"approvals": ApprovalRule(count=2)})
        self.go_on(environment, [Verdict.PASS] * 5)
        self.verify(environment, holds=True)

    def _open(self, environment: str) -> list[Any]:
        with self.stores.db.read() as connection:
            return list_promotions(connection, environment=environment, open_only=True)

    @invariant()
    def nothing_is_live_that_was_not_allowed(self) -> None:
        with self.stores.db.read() as connection:
            for fact in read_facts(connection, after=self.seen):
                self.judge.read(fact)
                if fact.kind == "environment.changed":
                    self.told[fact.body["environment"]] = fact.body["release"]
                self.seen = fact.seq
            stands = {one.name: one.release for one in list_environments(connection)}
        assert self.judge.objections == []
        # The pointers are where the facts say that they were moved to.
        assert {name: self.told.get(name) for name in stands} == stands

    def _policy_of(self, digest: str) -> EnvironmentPolicy:
        with self.stores.db.read() as connection:
            found = find_policy(connection, digest)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Platform]]:
    """With a migrated workspace to start from."""
    template = tmp_path_factory.mktemp("machine") / "template"
    open_stores(template, ManualClock(START)).db.close()
    yield type("Machine", (Platform,), {"template": template})


def run(machine: type[Platform], examples: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_is_live_that_its_policy_did_not_allow(machine: type[Platform], soak: bool) -> None:
    run(machine, 2000 if soak else 25)


def _yes(*_: object) -> list[str]:
    return []


ONE = {"approvals": ApprovalRule(1)}
#: Where the rule would matter from the first promotion on.
FIRST: dict[str, dict[str, Any]] = {
    "who may approve": ONE,
    "how many approve": ONE,
    "soak": {"soak_s": 3600.0},
    "windows": {"windows": ("mon-sun 08:00-10:00 UTC",)},
}
#: What is taken out: where it is looked up, and what stands in for it.
RULES: dict[str, tuple[object, str, object]] = {
    "who may approve": (approvals, "why_may_not_approve", lambda *_: None),
    "how many approve": (decide, "_lacking_approvals", _yes),
    "soak": (decide, "_soak_left", _yes),
    "windows": (decide, "_until_a_window", _yes),
    "order": (requests, "has_been_live", lambda *_: True),
    "glass": (requests, "broken_glass", lambda tx, now, name: [_Anybody()]),
    "gates": (decide, "gates_asked", lambda policy, kind: ()),
    "the moment of applying": (steps, "decide_step", None),
}


class _Anybody:
    id = "none"
    principal = "ada"


@contextmanager
def without(rule: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module, name, stand_in = RULES[rule]
    if stand_in is None:
        stand_in = _applied_whatever_it_is
    monkeypatch.setattr(module, name, stand_in)
    yield
    monkeypatch.undo()


def _applied_whatever_it_is(situation: decide.Situation) -> decide.Step:
    if situation.phase is PromotionPhase.APPLYING:
        return decide.Step(PromotionPhase.VERIFYING)
    return decide.decide_step(situation)


@pytest.mark.parametrize("rule", RULES)
def test_the_judge_notices_each_rule_that_is_gone(
    machine: type[Platform], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = type("Eager", (machine,), {"first": FIRST.get(rule, {})})
    with without(rule, monkeypatch), pytest.raises((AssertionError, SeamlineError)):
        run(eager, 200)
