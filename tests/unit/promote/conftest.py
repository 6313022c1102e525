"""A machine of people, policies, clocks and promotions, and the judge of what becomes live."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from seamline.app.promote.promote_automatically import request_automatic
from seamline.domain.clock import ManualClock, from_iso
from seamline.domain.errors import SeamlineError, Unavailable
from seamline.domain.states import PromotionPhase, Role, Verdict
from seamline.promote.approvals import approve, reject
from seamline.promote.environments import (
    TRAINING,
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
from seamline.promote.recount import all_problems
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_emergency, request_promotion, request_rollback
from seamline.promote.steps import advance, finish, point_environment
from seamline.store.canonical import digest_of_json
from seamline.store.facts import RecordedFact, read_facts
from seamline.trust import refusals, tokens
from seamline.trust.principals import add_principal
from seamline.trust.roles import Principal, Verb

#: Role → what it lets do.
MAY = {
    "releaser": {"promotion.requested", "rollback.requested", "emergency.requested"},
    "approver": {"approval.given", "rollback.requested"},
    "admin": {"promotion.requested", "rollback.requested", "emergency.requested", "approval.given"},
}
ASKED = frozenset().union(*MAY.values())


@dataclass
class Case:
    """One promotion, as the facts tell it."""

    release: str
    environment: str
    kind: str
    by: str
    glass: str | None = None
    #: gate → verdict and digest of the evidence.
    gates: dict[str, list[str]] = field(default_factory=dict)
    #: Who → policy, evidence, release.
    approvals: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass
class Judge:
    """Knows the rules from the documentation; reads facts in order, and the text of policies by
    digest. `objections`: what was not allowed when it happened."""

    policy_text: Callable[[str], EnvironmentPolicy]
    trainers: dict[str, str]
    policies: dict[str, str] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    live: dict[str, tuple[str, str]] = field(default_factory=dict)
    was_live: dict[str, set[str]] = field(default_factory=dict)
    #: Environment → releases that went back and may not come again until a hold is lifted.
    kept_back: dict[str, set[str]] = field(default_factory=dict)
    holds: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    glass: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    objections: list[str] = field(default_factory=list)

    def read(self, fact: RecordedFact) -> None:
        body = fact.body
        if fact.kind in ASKED and fact.caused_by is None:
            self._judge_who(fact)
        match fact.kind:
            case "principal.added":
                self.roles[body["principal"]] = frozenset(body["roles"])
            case "token.issued":
                self.tokens.setdefault(body["principal"], set()).add(body["token_id"])
            case "token.revoked":
                self.tokens[body["principal"]].discard(body["token_id"])
            case "policy.applied":
                self.policies[body["environment"]] = body["digest"]
            case "promotion.requested":
                self._open(fact, "regular")
                if fact.caused_by is not None:
                    self._judge_automatic(fact)
            case "rollback.requested":
                self._open(fact, "rollback")
                if body["release"] not in self.was_live.get(body["environment"], ()):
                    self._object(fact, "rolls back to what was never live, or went back itself")
                self.kept_back.setdefault(body["environment"], set()).add(body["rolled_back"])
            case "emergency.requested":
                self._open(fact, "emergency")
            case "gate.decided":
                decided = [body["verdict"], body["evidence_digest"]]
                self.cases[body["promotion_id"]].gates[body["gate"]] = decided
            case "approval.given":
                binding = (body["policy_digest"], body["evidence_digest"], body["release"])
                self.cases[body["promotion_id"]].approvals[fact.by] = binding
            case "hold.set":
                self.holds[body["hold_id"]] = (body["environment"], body["release"])
            case "hold.lifted":
                del self.holds[body["hold_id"]]
                self.kept_back.pop(body["environment"], None)
            case "glass.broken":
                self.glass[body["glass_id"]] = (body["environment"], fact.by, body["until"])
                if "admin" not in self.roles[fact.by]:
                    self._object(fact, "the glass is not theirs to break")
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
        here = self.was_live.setdefault(case.environment, set())
        if case.kind == "rollback" and before is not None:
            here.discard(before[0])
        here.add(case.release)
        self.live[case.environment] = (case.release, fact.at)

    def _judge_who(self, fact: RecordedFact) -> None:
        if not self.tokens.get(fact.by):
            self._object(fact, f"{fact.by} holds no token that is in force")
        if not any(fact.kind in MAY.get(role, ()) for role in self.roles[fact.by]):
            self._object(fact, f"{fact.by} has no role for it")

    def _judge_automatic(self, fact: RecordedFact) -> None:
        environment = fact.body["environment"]
        if not self.policy_text(self.policies[environment]).automatic:
            self._object(fact, "nothing comes there by itself")
        if any(held == environment for held, _ in self.holds.values()):
            self._object(fact, "under a hold nothing comes by itself")

    def _judge(self, fact: RecordedFact, case: Case) -> None:
        policy = self.policy_text(self.policies[case.environment])
        asked = ["digests", "provenance"] if case.kind != "regular" else [*policy.gates, "policy"]
        for gate in asked:
            verdict = case.gates.get(gate, ["missing"])[0]
            if verdict != "pass":
                self._object(fact, f"gate {gate} is {verdict}")
        if case.kind == "emergency":
            environment, by, until = self.glass.get(case.glass or "", ("", "", ""))
            if (environment, by) != (case.environment, case.by) or fact.at >= until:
                self._object(fact, "no glass is broken for it")
        if case.kind == "regular":
            self._judge_approvals(fact, case, policy)
            self._judge_place_and_time(fact, case, policy)

    def _judge_approvals(self, fact: RecordedFact, case: Case, policy: EnvironmentPolicy) -> None:
        excluded = {
            "trainer": self.trainers[case.release],
            "author": "nobody",
            "requester": case.by,
        }
        barred = {excluded[party] for party in policy.approvals.exclude}
        bound = (policy.digest, digest_of_json(case.gates), case.release)
        counted = [
            name
            for name, binding in case.approvals.items()
            if binding == bound
            and name not in barred
            and self.roles[name] & set(policy.approvals.roles)
        ]
        if len(counted) < policy.approvals.count:
            self._object(fact, f"approved by {counted}, {policy.approvals.count} were needed")

    def _judge_place_and_time(
        self, fact: RecordedFact, case: Case, policy: EnvironmentPolicy
    ) -> None:
        for environment, release in self.holds.values():
            if environment == case.environment and release in (None, case.release):
                self._object(fact, "it is on hold")
        if case.release in self.kept_back.get(case.environment, ()):
            self._object(fact, "it went back, and no hold was lifted since")
        after = policy.after or ""
        if after != "dataops":
            upstream = self.live.get(after)
            if case.release not in self.was_live.get(after, ()):
                self._object(fact, f"never live in {after}, or went back there")
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
NAMES = ("development", "staging", "production")
PEOPLE = {
    "ada": frozenset({Role.RELEASER}),
    "bea": frozenset({Role.APPROVER}),
    "cid": frozenset({Role.APPROVER, Role.RELEASER}),
    "dan": frozenset({Role.VIEWER}),
    "root": frozenset({Role.ADMIN}),
}
RELEASES = ("r1", "r2", "r3")
#: Who trained which release.
TRAINERS = {"r1": "cid", "r2": "bea", "r3": "ada"}
START = datetime(2026, 3, 27, 6, tzinfo=UTC)
PASS = [Verdict.PASS] * 5

ENVIRONMENT = st.sampled_from(NAMES)
PERSON, RELEASE = st.sampled_from(sorted(PEOPLE)), st.sampled_from(RELEASES)
POLICY = st.builds(
    lambda gates, count, exclude, soak, windows, automatic: {
        "gates": gates,
        "approvals": ApprovalRule(count, (Role.APPROVER, Role.ADMIN), exclude),
        "soak_s": soak,
        "windows": windows,
        "automatic": automatic,
    },
    st.sampled_from([(), ("digests",), ("digests", "provenance", "evaluation")]),
    st.integers(0, 2),
    st.sampled_from([tuple(Party), (Party.REQUESTER,), (Party.TRAINER,), ()]),
    st.sampled_from([0.0, 0.0, 3600.0]),
    st.sampled_from([(), (), ("mon-sun 08:00-10:00 UTC",)]),
    st.booleans(),
)


class Platform(RuleBasedStateMachine):
    """Everything that people and the loop can do, in any order; refusals are fine."""

    copies: Any
    #: What the policies of all environments ask at first.
    first: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(START)
        self.stores = self.copies.open(self.clock)
        self.tokens: dict[str, str] = {}
        with self.stores.db.transaction() as tx:
            for name, held in PEOPLE.items():
                self.tokens[name] = add_principal(
                    tx, self.stores.facts, self.clock, name, held, by="root"
                )
        self.set_policies(dict.fromkeys(NAMES, self.first))
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
        self.due: list[RecordedFact] = []
        self.decided = 0

    def teardown(self) -> None:
        try:
            if not self.judge.objections:  # every row is what the facts tell
                with self.stores.db.read() as connection:
                    assert all_problems(connection) == []
        finally:
            self.copies.close(self.stores)

    def set_policies(self, changes: dict[str, dict[str, Any]]) -> None:
        chain = (TRAINING, *NAMES)
        policies = [EnvironmentPolicy(TRAINING)]
        policies += [
            replace(EnvironmentPolicy(name, after), **changes[name])
            for after, name in zip(chain, NAMES, strict=False)
        ]
        self.changes = changes
        with self.stores.db.transaction() as tx:
            apply_policies(tx, self.stores.facts, tuple(policies), by="root")

    def who(self, person: str, verb: Verb) -> Principal:
        """As every adapter asks: by the token, and whether the role lets them."""
        with self.stores.db.read() as connection:
            principal = tokens.principal_of_token(connection, self.clock, self.tokens[person])
        refusals.require(principal, verb)
        return principal

    @rule(environment=ENVIRONMENT, changed=POLICY)
    def apply_policy(self, environment: str, changed: dict[str, Any]) -> None:
        self.set_policies({**self.changes, environment: changed})

    @rule(hours=st.sampled_from([0.01, 1.0, 2.0, 23.0, -3.0]))
    def time_passes(self, hours: float) -> None:
        """Clocks also jump back."""
        self.clock.advance(hours * 3600)

    @rule(person=PERSON)
    def revoke(self, person: str) -> None:
        with self.stores.db.transaction() as tx:
            tokens.revoke_tokens(tx, self.stores.facts, self.clock, person, by="root")

    @rule(person=PERSON)
    def issue(self, person: str) -> None:
        with self.stores.db.transaction() as tx:
            made = tokens.issue_token(tx, self.stores.facts, self.clock, person, by="root")
        self.tokens[person] = made.token

    @rule(release=RELEASE, environment=ENVIRONMENT, person=PERSON)
    def ask(self, release: str, environment: str, person: str) -> None:
        with suppress(SeamlineError):
            by = self.who(person, Verb.REQUEST_PROMOTION).name
            request_promotion(self.stores, release, environment, by=by)

    @rule(environment=ENVIRONMENT, to=st.none() | RELEASE, person=PERSON)
    def roll_back(self, environment: str, to: str | None, person: str) -> None:
        with suppress(SeamlineError):
            by = self.who(person, Verb.ROLL_BACK).name
            request_rollback(self.stores, environment, "bad", by=by, to=to)

    @rule(release=RELEASE, environment=ENVIRONMENT, person=PERSON)
    def hurry(self, release: str, environment: str, person: str) -> None:
        with suppress(SeamlineError):
            by = self.who(person, Verb.REQUEST_PROMOTION).name
            request_emergency(self.stores, release, environment, by=by)

    @rule(environment=ENVIRONMENT, person=PERSON, lasts_s=st.sampled_from([60.0, 7200.0]))
    def smash(self, environment: str, person: str, lasts_s: float) -> None:
        with suppress(SeamlineError):
            who = self.who(person, Verb.BREAK_GLASS)
            break_glass(self.stores, environment, who, "fire", lasts_s)

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
        """People look at what waits."""
        for one in self._open(environment):
            trained = {TRAINERS[alias]: "trained it" for alias, digest in self.releases.items()
                       if digest == one.release}  # fmt: skip
            parties = {
                Party.TRAINER: trained,
                Party.REQUESTER: {one.requested_by: "asked for it"},
            }
            with suppress(SeamlineError):
                who = self.who(person, Verb.APPROVE)
                if says == "yes":
                    approve(self.stores, one.id, who, parties)
                else:
                    reject(self.stores, one.id, who, "no")

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
                    self.decided += 1  # no two pieces of evidence are the same
                    result = GateResult(gate, verdict, "", {"n": self.decided})
                    record_gate(self.stores, one.id, result, by="seamline")
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

    @rule()
    def come_by_itself(self) -> None:
        """Where a policy says so, a release goes on as soon as it is live in what comes before."""
        due, self.due = self.due, []
        for fact in due:
            after = fact.body.get("environment", TRAINING)
            try:
                request_automatic(self.stores, fact.body["release"], after, fact)
            except Unavailable:
                self.due.append(fact)

    @rule(
        environment=ENVIRONMENT,
        release=RELEASE,
        person=PERSON,
        people=st.sets(PERSON),
        verdict=st.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.PASS, Verdict.FAIL]),
        meanwhile=st.sampled_from(["", "", "hold", "policy", "rollback", "revoke"]),
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
        self.go_on(environment, PASS)
        self.go_on(environment, [verdict, *PASS[1:]])
        if meanwhile == "revoke":
            for name in sorted(people):
                self.revoke(name)
        for name in sorted(people):
            self.decide(environment, name, "yes")
        if meanwhile == "rollback" and environment != NAMES[0]:
            self.take_back(NAMES[NAMES.index(environment) - 1], "bea")
        if people:
            self.go_on(environment, PASS)
        if meanwhile == "hold":
            set_hold(self.stores, environment, "wait", by="root")
        elif meanwhile == "policy":
            self.apply_policy(environment, {"approvals": ApprovalRule(count=2)})
        self.go_on(environment, PASS)
        self.verify(environment, holds=True)
        if meanwhile == "revoke":
            for name in sorted(people):
                self.issue(name)

    @rule(environment=ENVIRONMENT, person=PERSON)
    def take_back(self, environment: str, person: str) -> None:
        """A rollback, the whole way."""
        self.roll_back(environment, None, person)
        for _ in range(3):
            self.go_on(environment, PASS)
        self.verify(environment, holds=True)

    def _open(self, environment: str) -> list[Any]:
        with self.stores.db.read() as connection:
            return list_promotions(connection, environment=environment, open_only=True)

    @invariant()
    def nothing_is_live_that_was_not_allowed(self) -> None:
        with self.stores.db.read() as connection:
            for fact in read_facts(connection, after=self.seen):
                self.judge.read(fact)
                self._note(fact)
                self.seen = fact.seq
            stands = {one.name: one.release for one in list_environments(connection)}
        assert self.judge.objections == []
        # The pointers are where the facts say that they were moved to.
        assert {name: self.told.get(name) for name in stands} == stands

    def _note(self, fact: RecordedFact) -> None:
        if fact.kind == "environment.changed":
            self.told[fact.body["environment"]] = fact.body["release"]
        if fact.kind == "release.created" or fact.body.get("after") == "live":
            self.due.append(fact)

    def _policy_of(self, digest: str) -> EnvironmentPolicy:
        with self.stores.db.read() as connection:
            found = find_policy(connection, digest)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def machine(copies: Any) -> type[Platform]:
    return type("Machine", (Platform,), {"copies": copies})
