"""Who may approve, asked over HTTP as people do: with tokens, from another machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from seamline.app.trust.export_audit import export_ledger
from seamline.console.routes import make_router as make_console
from seamline.domain.errors import Forbidden
from seamline.domain.facts import PipelinePublished, RunRequested
from seamline.domain.states import PromotionPhase, Role
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES, ApprovalRule
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.register.owners import claim_pipeline
from seamline.register.rows import MODEL_VERSIONS, PIPELINE_NAMES
from seamline.server import ControlPlane
from seamline.train.rows import RUNS
from seamline.trust.approval_statements import ApprovalStatement, sign_approval
from seamline.trust.audit import verify_export
from seamline.trust.key_files import create_key_files
from seamline.trust.keys import SigningKey
from seamline.trust.principals import add_principal, grant_role, take_role
from seamline.trust.roles import Grant, Scope, Verb
from seamline.trust.teams import add_team, join_team
from seamline.trust.tokens import issue_token, principal_of_token, revoke_tokens

V1 = "/api/v1"
IR, LOOP = "sha256:" + "b2" * 32, "sha256:" + "b3" * 32
Ask = Callable[..., httpx.Response]


class House:
    """A plane with people, and a release that is live in development."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane, self.stores = plane, plane.platform.stores
        self.tokens: dict[str, str] = {}
        self.policies()

    def policies(self, count: int = 1, **production: Any) -> None:
        plain = [
            replace(
                one,
                gates=(),
                soak_s=0.0,
                automatic=False,
                approvals=ApprovalRule(count if one.name in ("staging", "production") else 0),
            )
            for one in DEFAULT_POLICIES
        ]
        plain[3] = replace(plain[3], **production)
        with self.stores.db.transaction() as tx:
            apply_policies(tx, self.stores.facts, tuple(plain), by="root")

    def add(self, name: str, *grants: Grant) -> None:
        with self.stores.db.transaction() as tx:
            self.tokens[name] = add_principal(
                tx, self.stores.facts, self.stores.clock, name, frozenset(), by="root",
                grants=grants,
            )  # fmt: skip

    def settle(self) -> None:
        while self.plane.loop.step():
            pass

    def ask(self, environment: str, by: str = "rita", alias: str = "r1") -> Promotion:
        asked = request_promotion(self.stores, alias, environment, by=by)
        self.settle()
        return self.find(asked.id)

    def find(self, promotion_id: str) -> Promotion:
        with self.stores.db.read() as connection:
            return find_promotion(connection, promotion_id)

    def send(self, who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        peer = "192.0.2.7" if who else "127.0.0.1"

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self.plane.app, client=(peer, 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(one())

    def approve(self, who: str | None, promotion: Promotion, **body: Any) -> httpx.Response:
        return self.send(who, "POST", f"{V1}/promotions/{promotion.id}/approve", json=body)


@pytest.fixture
def house(plane: ControlPlane) -> House:
    made = House(plane)
    for name, *grants in (
        ("bea", Grant(Role.APPROVER)),
        ("eve", Grant(Role.APPROVER)),
        ("tom", Grant(Role.APPROVER)),
        ("ann", Grant(Role.APPROVER)),
        ("rita", Grant(Role.APPROVER), Grant(Role.RELEASER)),
        ("vera", Grant(Role.VIEWER)),
        ("dev", Grant(Role.DEVELOPER)),
        ("stan", Grant(Role.APPROVER, None, "staging"), Grant(Role.VIEWER)),
    ):
        made.add(str(name), *(one for one in grants if isinstance(one, Grant)))
    return made


@pytest.fixture
def trained(house: House, put_row: Callable[..., None]) -> House:
    """The release r1: a model that tom trained, with a pipeline that ann wrote."""
    lineage = json.dumps({"format": "skops", "lineage": {"pipeline_digest": IR}})
    wheel = house.stores.blobs.put(b"wheel")
    put_row(
        MODEL_VERSIONS,
        model="m",
        version="1.0.0",
        wheel_digest=wheel,
        run_id="run-1",
        document=lineage,
        dataset_versions="[]",
    )
    with house.stores.db.transaction() as tx:
        facts = house.stores.facts
        facts.append(tx, RunRequested("run-1", "dataops", "train", LOOP, {}), by="tom")
        facts.append(tx, PipelinePublished("train", IR, "default/main", None), by="ann")
    record_release(house.stores, Release(packages=(Pin("m", "1.0.0", wheel),)), "r1", by="rita")
    return house


def live_in(house: House, *environments: str) -> None:
    """Moves the pointers as if it had come there: what is asked here is who approves."""
    for environment in environments:
        promotion = house.ask(environment)
        if promotion.phase is PromotionPhase.AWAITING_APPROVAL:
            assert house.approve("bea", promotion).status_code == 200
            house.settle()
        assert house.find(promotion.id).phase is PromotionPhase.LIVE


@pytest.fixture
def locked(house: House) -> House:
    """The release r1, of a lock alone: it can go everywhere, and is no team's."""
    digest = house.stores.blobs.put(b"lock")
    record_release(house.stores, Release(locks=(Pin("m", "1", digest),)), "r1", by="rita")
    live_in(house, "development")
    return house


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("tom", "trained m 1.0.0 (run run-1)"),
        ("ann", "published the pipeline train"),
        ("rita", "requested this promotion"),
        ("vera", "may not approve"),
        ("dev", "may not approve"),
        ("stan", "may not approve in development"),
    ],
)
def test_nobody_who_had_a_part_in_it_and_nobody_without_the_role(
    trained: House, who: str, says: str
) -> None:
    """Asked into the first environment that follows, with an approval there."""
    with trained.stores.db.transaction() as tx:
        strict = [
            replace(one, gates=(), soak_s=0.0, automatic=False, approvals=ApprovalRule(1))
            for one in DEFAULT_POLICIES
        ]
        apply_policies(tx, trained.stores.facts, tuple(strict), by="root")
    promotion = trained.ask("development")
    assert promotion.phase is PromotionPhase.AWAITING_APPROVAL
    refused = trained.approve(who, promotion)
    assert refused.status_code == 403, refused.text
    assert says in refused.json()["error"]["message"]
    assert trained.find(promotion.id).phase is PromotionPhase.AWAITING_APPROVAL
    assert trained.approve("bea", promotion).status_code == 200


def test_twice_by_one_person(locked: House) -> None:
    locked.policies(count=2)
    promotion = locked.ask("staging")
    assert locked.approve("bea", promotion).status_code == 200
    again = locked.approve("bea", promotion)
    assert again.status_code == 409
    assert "bea has approved promotion" in again.text
    locked.settle()
    assert locked.find(promotion.id).phase is PromotionPhase.AWAITING_APPROVAL
    assert locked.approve("eve", promotion).status_code == 200
    locked.settle()
    assert locked.find(promotion.id).phase is PromotionPhase.LIVE


def test_for_another_environment(locked: House) -> None:
    """stan approves in staging, and is told in production that this is not staging."""
    promotion = locked.ask("staging")
    assert locked.approve("stan", promotion).status_code == 200
    locked.settle()
    later = locked.ask("production")
    refused = locked.approve("stan", later)
    assert refused.status_code == 403
    assert "stan (approver in staging, viewer) may not approve in production" in refused.text
    assert locked.approve("bea", later).status_code == 200


def test_after_the_evidence_or_the_policy_changed(locked: House) -> None:
    """What was approved is dismissed; a signature of what stood before is refused."""
    locked.policies(count=2)
    promotion = locked.ask("staging")
    assert locked.approve("bea", promotion).status_code == 200
    locked.policies(count=1)
    locked.settle()
    found = locked.find(promotion.id)
    assert found.phase is PromotionPhase.AWAITING_APPROVAL
    assert found.evidence_digest != promotion.evidence_digest
    shown = locked.send("bea", "GET", f"{V1}/promotions/{promotion.id}").json()
    assert shown["approvals"] == []
    assert locked.approve("bea", promotion).status_code == 200


def test_a_token_that_was_revoked_between_request_and_approval(locked: House) -> None:
    promotion = locked.ask("staging")
    with locked.stores.db.transaction() as tx:
        revoke_tokens(tx, locked.stores.facts, locked.stores.clock, "bea", by="root")
    refused = locked.approve("bea", promotion)
    assert refused.status_code == 401
    assert "revoked" in refused.text
    locked.settle()
    assert locked.find(promotion.id).phase is PromotionPhase.AWAITING_APPROVAL


def test_a_role_that_was_taken_back_between_request_and_approval(locked: House) -> None:
    promotion = locked.ask("staging")
    with locked.stores.db.transaction() as tx:
        take_role(tx, locked.stores.facts, "bea", Grant(Role.APPROVER), by="root")
    refused = locked.approve("bea", promotion)
    assert refused.status_code == 403
    assert "bea (no role) may not approve" in refused.text
    assert locked.find(promotion.id).phase is PromotionPhase.AWAITING_APPROVAL


@pytest.fixture
def two_teams(house: House, put_row: Callable[..., None]) -> House:
    """Releases of arrivals' pipeline, of both teams' and of one that is no team's."""
    with house.stores.db.transaction() as tx:
        for team in ("arrivals", "punctuality"):
            add_team(tx, house.stores.facts, house.stores.clock, team, by="root")
    house.add("una", Grant(Role.APPROVER, "arrivals"), Grant(Role.RELEASER, "arrivals"))
    pins = {}
    for name, team in (("arr", "arrivals"), ("pun", "punctuality"), ("own", None)):
        put_row(PIPELINE_NAMES, repository="default/main", package=name, owner="ann", team=team)
        pins[name] = Pin(name, "1.0.0", house.stores.blobs.put(name.encode()))
    for alias, names in (("theirs", ["arr"]), ("mixed", ["arr", "pun"]), ("personal", ["own"])):
        made = Release(pipelines=tuple(pins[name] for name in names))
        record_release(house.stores, made, alias, by="rita")
    house.policies()
    return house


@pytest.mark.parametrize(
    ("alias", "holds"),
    [
        ("theirs", None),
        ("mixed", "it holds arrivals', punctuality's things"),
        ("personal", "it holds no team's things"),
    ],
)
def test_a_role_for_one_team_is_for_releases_of_that_team(
    two_teams: House, alias: str, holds: str | None
) -> None:
    asked = {"release": alias, "environment": "development"}
    answer = two_teams.send("una", "POST", f"{V1}/promotions", json=asked)
    assert answer.status_code == (200 if holds is None else 403)
    assert (holds or alias) in answer.text
    if holds is not None:
        request_promotion(two_teams.stores, alias, "development", by="rita")
    two_teams.settle()
    promotion = two_teams.ask("staging", alias=alias)
    for deed, body in (("approve", {}), ("reject", {"reason": "no"})):
        path = f"{V1}/promotions/{promotion.id}/{deed}"
        if holds is not None:
            refused = two_teams.send("una", "POST", path, json=body)
            assert refused.status_code == 403, refused.text
            assert holds in refused.text
    assert two_teams.approve("una" if holds is None else "bea", promotion).status_code == 200
    two_teams.settle()
    assert two_teams.find(promotion.id).phase is PromotionPhase.LIVE


def test_a_role_for_one_team_publishes_in_its_name_alone(two_teams: House) -> None:
    """Whoever belongs to another team, or has a token for it, publishes nothing there by it."""
    stores, text = two_teams.stores, json.dumps({"pipelineInfo": {"name": "none"}})
    two_teams.add("pia", Grant(Role.DEVELOPER, "arrivals", "dataops"))
    with stores.db.transaction() as tx:
        join_team(tx, stores.facts, stores.clock, "punctuality", "pia", by="root")
        scope = Scope("punctuality")
        issued = issue_token(tx, stores.facts, stores.clock, "pia", by="root", scope=scope)
    for package, says in (("pun", "belongs to the team punctuality"), ("arr", "")):
        with stores.db.transaction() as tx:
            pia = principal_of_token(tx, stores.clock, two_teams.tokens["pia"])
            acting = pia.acting(Verb.PUBLISH, {"dataops"})
            if says:
                with pytest.raises(Forbidden, match=says):
                    claim_pipeline(stores, tx, "default/main", package, acting)
            else:
                claim_pipeline(stores, tx, "default/main", package, acting)
    two_teams.tokens["pia"] = issued.token
    refused = two_teams.send("pia", "POST", f"{V1}/pipelines", content=text.encode())
    assert refused.status_code == 403
    assert "for that team" in refused.text


@pytest.mark.parametrize(
    ("team", "by", "status"),
    [("arrivals", "rita", 200), ("punctuality", "rita", 403), ("", "rita", 403), ("", "una", 200)],
)
def test_a_role_for_one_team_is_for_runs_of_that_team(
    two_teams: House, put_row: Callable[..., None], team: str, by: str, status: int
) -> None:
    put_row(
        RUNS,
        id="run-1",
        environment="dataops",
        state="running",
        team=team,
        requested_by=by,
        arguments="{}",
        options="{}",
        notes="[]",
        fidelity="forked",
    )
    answer = two_teams.send("una", "POST", f"{V1}/runs/run-1/cancel", json={})
    assert (answer.status_code == 403) is (status == 403), answer.text
    assert ("speaks for arrivals" in answer.text) is (status == 403)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/holds", {"reason": "freeze"}),
        ("/holds/lift", {"reason": "thaw"}),
        ("/glass", {"reason": "fire", "lasts_s": 60}),
        ("/glass/mend", {}),
        ("/rollbacks", {"reason": "bad"}),
    ],
)
def test_what_concerns_a_whole_environment_is_no_one_teams(
    two_teams: House, path: str, body: dict[str, Any]
) -> None:
    for alias in ("mixed", "theirs"):
        request_promotion(two_teams.stores, alias, "development", by="rita")
        two_teams.settle()
    sent = {**body, "environment": "development"}
    refused = two_teams.send("una", "POST", V1 + path, json=sent)
    assert refused.status_code == 403, refused.text


def test_alone_one_approves_oneself_and_it_is_said_everywhere(plane: ControlPlane) -> None:
    plane.app.include_router(make_console())
    house = House(plane)
    house.policies(approvals=ApprovalRule(1, exclude=()))
    digest = house.stores.blobs.put(b"lock")
    record_release(house.stores, Release(locks=(Pin("m", "1", digest),)), "r1", by="root")
    house.add("bea", Grant(Role.APPROVER))
    live_in(house, "development", "staging")
    promotion = house.ask("production", by=plane.platform.owner)
    shown = house.approve(None, promotion).json()
    assert shown["approvals"][0]["self_approved"] == ["requester"]
    for page in ("/", "/approvals"):
        house.settle()
        assert "self-approved" in house.send(None, "GET", page).text
    facts = house.send(None, "GET", f"{V1}/facts", params={"limit": 1000}).json()
    said = [one["body"]["self_approved"] for one in facts if one["kind"] == "approval.given"]
    assert said == [["requester"], []]
    report = verify_export(line for line in export_ledger(house.stores))
    assert (report.approvals, report.self_approved, report.problems) == (2, 1, ())


# -- approvers' own keys -----------------------------------------------------------------------


def signed(promotion: Promotion, who: str, key: SigningKey, **other: str) -> str:
    statement = ApprovalStatement(
        promotion.id,
        promotion.release,
        promotion.environment,
        promotion.policy_digest or "",
        promotion.evidence_digest or "",
        "",
        who,
    )
    return sign_approval(replace(statement, **other), key).decode()


@pytest.fixture
def bea_key(locked: House, tmp_path: Path) -> SigningKey:
    key, public_path = create_key_files(tmp_path / "bea.pem")
    body = {"public_key": public_path.read_text()}
    assert locked.send("bea", "POST", f"{V1}/approver-keys", json=body).status_code == 200
    return key


def test_who_has_a_key_signs_with_it(locked: House, bea_key: SigningKey, tmp_path: Path) -> None:
    promotion = locked.ask("staging")
    stranger, _ = create_key_files(tmp_path / "stranger.pem")
    locked.plane.app.include_router(make_console())
    page = locked.send("bea", "GET", "/approvals").text
    assert "bea signs approvals with a key, which no browser holds" in page
    assert "Approve as bea" not in page
    plain = locked.approve("bea", promotion)
    assert plain.status_code == 403
    assert "this one is not signed" in plain.text
    for envelope, says in (
        (signed(promotion, "bea", stranger), "No trusted key signed"),
        (signed(promotion, "eve", bea_key), "approver is 'bea', signed 'eve'"),
        (signed(promotion, "bea", bea_key, environment="production"), "signed 'production'"),
        (signed(promotion, "bea", bea_key, evidence_digest="sha256:0"), "signed 'sha256:0'"),
        (signed(promotion, "bea", bea_key, policy_digest="sha256:0"), "signed 'sha256:0'"),
        (signed(promotion, "bea", bea_key, release="sha256:0"), "signed 'sha256:0'"),
        ("{}", "not a DSSE envelope"),
    ):
        refused = locked.approve("bea", promotion, signed=envelope)
        assert refused.status_code in (400, 409, 422), refused.text
        assert says in refused.json()["error"]["message"]
    given = locked.approve("bea", promotion, signed=signed(promotion, "bea", bea_key))
    assert given.status_code == 200, given.text
    assert given.json()["approvals"][0]["key_id"] == bea_key.public.key_id
    locked.settle()
    assert locked.find(promotion.id).phase is PromotionPhase.LIVE


def test_an_export_proves_who_signed(locked: House, bea_key: SigningKey) -> None:
    promotion = locked.ask("staging")
    locked.approve("bea", promotion, signed=signed(promotion, "bea", bea_key))
    locked.settle()
    later = locked.ask("production")
    locked.approve("eve", later)
    lines = list(export_ledger(locked.stores))
    report = verify_export(lines, approvers={"bea": bea_key.public.text})
    assert (report.approvals, report.signed, report.problems) == (2, 1, ())
    (wrong,) = verify_export(lines, approvers={"bea": "A" * 43 + "="}).problems
    assert "not with the pinned" in wrong
    (unsigned,) = verify_export(lines, approvers={"eve": "A" * 43 + "="}).problems
    assert "by eve is not signed with their key" in unsigned


def test_keys_are_each_persons_own(locked: House, bea_key: SigningKey, tmp_path: Path) -> None:
    text = bea_key.public.text
    other, _ = create_key_files(tmp_path / "other.pem")
    path = f"{V1}/approver-keys"
    for who, key, status, says in (
        ("eve", text, 409, "is bea's already"),
        ("bea", other.public.text, 409, "signs with the key"),
        ("vera", other.public.text, 403, "may not approve"),
        ("eve", "ssh-rsa AAAA", 400, "cannot be read"),
    ):
        refused = locked.send(who, "POST", path, json={"public_key": key})
        assert refused.status_code == status, refused.text
        assert says in refused.text
    ending = f"{path}/{bea_key.public.key_id}"
    assert locked.send("bea", "DELETE", ending).status_code == 403
    assert locked.send(None, "DELETE", ending).json()["ended_at"]
    promotion = locked.ask("staging")
    refused = locked.approve("bea", promotion, signed=signed(promotion, "bea", bea_key))
    assert "has no key here" in refused.text
    assert locked.approve("bea", promotion).status_code == 200


def test_grants_over_http(locked: House) -> None:
    """As the command line does it."""

    def send(method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = locked.send(None, method, V1 + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    send("POST", "/teams", {"name": "arrivals"})
    limits = {"environments": ["staging", "production"], "teams": ["arrivals"]}
    made = send("POST", "/principals", {"name": "una", "roles": ["approver"], **limits})
    wanted = [{"role": "approver", "environment": one, "team": "arrivals"}
              for one in ("production", "staging")]  # fmt: skip
    assert (made["roles"], made["grants"]) == ([], wanted)
    viewer = {"role": "viewer"}
    assert send("POST", "/principals/una/roles", viewer)["roles"] == ["viewer"]
    assert send("POST", "/principals/una/roles", viewer)["roles"] == ["viewer"]
    taken = send("POST", "/principals/una/roles/take", wanted[0])
    assert taken["grants"] == wanted[1:]
    assert send("GET", "/principals/una")["grants"] == wanted[1:]
    send("POST", "/principals/una/roles/take", {"role": "approver"}, 404)
    send("POST", "/principals/una/roles", {"role": "approver", "environment": "stagin"}, 404)
    send("POST", "/principals/una/roles", {"role": "approver", "team": "arival"}, 404)
    send("POST", "/principals/una/roles", {"role": "aprover"}, 400)
    kinds = [one["kind"] for one in send("GET", "/facts?subject=una")]
    assert kinds[:2] == ["role.taken", "role.granted"]
    with locked.stores.db.transaction() as tx:
        held = grant_role(
            tx, locked.stores.facts, locked.stores.clock, "una", Grant(Role.VIEWER), by="root"
        ).held
    assert Grant(Role.APPROVER, "arrivals", "staging") in held
