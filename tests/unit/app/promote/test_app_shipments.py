"""What a server takes from another one: nothing that the pinned key has not signed, each byte by
its digest, and each promotion once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from seamline.app.promote import receive_release as receiving
from seamline.app.promote.make_release import make_release
from seamline.app.promote.parties import parties_of
from seamline.app.promote.receive_release import Letter, receive_piece, receive_release
from seamline.app.promote.ship_release import write_letter
from seamline.app.trust.rotate_key import rotate_key
from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    Forbidden,
    InvalidInput,
    Refused,
    SeamlineError,
)
from seamline.domain.settings import Settings
from seamline.domain.states import PromotionKind, PromotionPhase, Role
from seamline.promote.admission import admit
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES, EnvironmentPolicy, Party
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import Pin, Release, StoredRelease, find_release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.shipments import SHIPMENT_TYPE, find_received, parse_shipment
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane, build_control_plane
from seamline.store.facts import read_facts
from seamline.trust.key_history import read_history
from seamline.trust.roles import Principal, Verb
from seamline.trust.signing import sign_payload
from seamline.trust.statements import open_envelope

LAB = Principal("lab", frozenset({Role.RELEASER}))


def ir(note: str) -> bytes:
    executors = {"exec-do": {"container": {"image": f"i@sha256:{'0' * 64}", "command": [note]}}}
    task = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "nothing"},
        "root": {"dag": {"tasks": {"do": task}}},
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": executors},
    }
    return json.dumps(document).encode()


GOOD = ir("good")


@dataclass
class Servers:
    lab: ControlPlane
    far: ControlPlane

    def trust(self, key: str | None, **more: Any) -> None:
        production = EnvironmentPolicy(
            "production", "dataops", ("digests", "provenance"), origin=key, **more
        )
        other = EnvironmentPolicy("staging", "dataops", origin=key)
        stores = self.far.platform.stores
        with stores.db.transaction() as tx:
            policies = (EnvironmentPolicy("dataops"), other, production)
            apply_policies(tx, stores.facts, policies, by="root")

    def promotion(self, release: StoredRelease) -> Promotion:
        """As it stands when it is sent."""
        asked = request_promotion(self.lab.platform.stores, release.digest, "production", by="ada")
        return replace(asked, phase=PromotionPhase.VERIFYING)

    def letter(self, promotion: Promotion) -> Letter:
        with self.lab.platform.stores.db.read() as connection:
            release = find_release(connection, promotion.release)
        said = write_letter(self.lab.platform, promotion, release)
        statements = {digest: tuple(found) for digest, found in said["statements"].items()}
        return Letter(said["envelope"], tuple(said["keys"]), said["sealed"], statements)

    def send(self, letter: Letter, environment: str = "production", who: Principal = LAB) -> Any:
        return receive_release(self.far.platform, environment, letter, who)

    def send_all(self, letter: Letter) -> Promotion:
        for one in self.send(letter)["missing"]:
            self.send_bytes(one["digest"])
        answer = self.send(letter)
        assert answer["missing"] == []
        with self.far.platform.stores.db.read() as connection:
            return find_promotion(connection, answer["promotion_id"])

    def send_bytes(self, digest: str) -> None:
        data = self.lab.platform.stores.blobs.get(digest)
        half = len(data) // 2
        receive_piece(self.far.platform.stores, digest, 0, data[:half])
        receive_piece(self.far.platform.stores, digest, half, data[half:])

    def signed(self, letter: Letter, **changes: Any) -> Letter:
        """The same, said otherwise, by the lab's own key."""
        keys = read_history([one.encode() for one in letter.keys]).keys
        payload = open_envelope(letter.envelope.encode(), SHIPMENT_TYPE, keys)
        said = replace(parse_shipment(payload), **changes)
        stores = self.lab.platform.stores
        with stores.db.transaction() as tx:
            envelope = sign_payload(stores, tx, SHIPMENT_TYPE, said.document())
        return replace(letter, envelope=envelope.decode())

    @property
    def key(self) -> str:
        return self.lab.platform.key.public.text


@pytest.fixture
def servers(plane: ControlPlane, tmp_path: Path, clock: ManualClock) -> Iterator[Servers]:
    far = build_control_plane(Settings(workspace=tmp_path / "far"), clock)
    lab = plane.platform.stores
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    plain[3] = replace(plain[3], after="dataops", url="http://127.0.0.1:1")
    with lab.db.transaction() as tx:
        apply_policies(tx, lab.facts, tuple(plain), by="root")
    publish_pipeline(lab, GOOD, ["1.0.0"], by="eve")
    made = Servers(plane, far)
    made.trust(made.key)
    yield made
    far.platform.engine.close()
    far.platform.runner.close()
    far.platform.stores.db.close()


@pytest.fixture
def sent(servers: Servers) -> Letter:
    release = make_release(servers.lab.platform, "r1", [], ["nothing@1.0.0"], by="ada")
    return servers.letter(servers.promotion(release))


def received(servers: Servers) -> list[str]:
    with servers.far.platform.stores.db.read() as connection:
        return [one.subject for one in read_facts(connection, kinds=["release.received"])]


def refusal(servers: Servers, letter: Letter, error: type[SeamlineError] = Refused) -> str:
    """Whatever is refused leaves nothing behind that can be promoted or run."""
    with pytest.raises(error) as caught:
        for one in servers.send(letter)["missing"]:
            servers.send_bytes(one["digest"])
        servers.send(letter)
    assert received(servers) == []
    with servers.far.platform.stores.db.read() as connection:
        assert list_promotions(connection) == []
    return str(caught.value)


def test_what_is_signed_is_promoted_once(servers: Servers, sent: Letter) -> None:
    there = servers.send_all(sent)
    assert servers.send(sent)["promotion_id"] == there.id
    assert servers.send_all(sent).id == there.id
    while servers.far.loop.step():
        pass
    stores = servers.far.platform.stores
    with stores.db.read() as connection:
        assert find_promotion(connection, there.id).phase is PromotionPhase.LIVE
        assert len(list_promotions(connection)) == 1
        found = find_received(connection, received(servers)[0])
    assert found is not None
    assert (found.body["origin"], found.body["release"]) == (servers.key, there.release)
    assert stores.blobs.get(digest_of(GOOD)) == GOOD
    assert not list((stores.root / "arriving").iterdir())


def test_what_nobody_trusted_has_signed_is_refused(servers: Servers, sent: Letter) -> None:
    envelope = json.loads(sent.envelope)
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["environment"] = "staging"
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    altered = replace(sent, envelope=json.dumps(envelope))
    assert "No trusted key signed" in refusal(servers, altered)
    with pytest.raises(Refused, match="is for production"):
        servers.send(sent, "staging")
    # The origin itself cannot pass something off as what it never published under that name.
    assert "is not what this workspace published" in refusal(servers, replace(sent, statements={}))
    renamed = Release(pipelines=(Pin("nothing", "9.9.9", digest_of(GOOD)),))
    assert "9.9.9" in refusal(servers, servers.signed(sent, release=renamed))
    assert "leaves out" in refusal(servers, servers.signed(sent, cargo=()), InvalidInput)
    servers.trust(None)
    assert "no origin's key is pinned" in refusal(servers, sent)
    servers.trust(servers.far.platform.key.public.text)
    assert "none of this workspace's keys" in refusal(servers, sent)


def test_bytes_are_taken_for_what_they_are(servers: Servers, sent: Letter) -> None:
    stores, missing = servers.far.platform.stores, servers.send(sent)["missing"][0]
    digest = missing["digest"]
    # Others than announced are thrown away.
    with pytest.raises(DigestMismatch):
        receive_piece(stores, digest, 0, bytes(missing["size_bytes"]))
    assert not stores.blobs.holds(digest)
    with pytest.raises(Refused, match="Nobody waits for"):
        receive_piece(stores, digest, 0, GOOD)
    # A piece fits where the last one ended.
    assert servers.send(sent)["missing"][0]["have"] == 0
    assert receive_piece(stores, digest, 0, GOOD[:10]) == 10
    for offset, data in ((0, GOOD[:10]), (11, GOOD[11:]), (10, GOOD[10:] + b" ")):
        with pytest.raises(Conflict):
            receive_piece(stores, digest, offset, data)
    assert servers.send(sent)["missing"][0]["have"] == 10
    receive_piece(stores, digest, 10, GOOD[10:])
    # Altered here before they were used, they are asked for again.
    path = stores.blobs.path_of(digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * len(GOOD))
    assert servers.send(sent)["missing"][0]["have"] == 0
    servers.send_all(sent)


def test_a_piece_that_comes_twice_at_once(
    servers: Servers, sent: Letter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that heard nothing asks again while the first request goes on."""
    stores, digest = servers.far.platform.stores, servers.send(sent)["missing"][0]["digest"]
    look, again = receiving._arriving, ThreadPoolExecutor(1)
    later: list[Future[int]] = []

    def stopped(*given: Any) -> Any:
        found = look(*given)
        monkeypatch.setattr(receiving, "_arriving", look)
        later.append(again.submit(receive_piece, stores, digest, 0, GOOD))
        wait(later, 0.3)
        return found

    monkeypatch.setattr(receiving, "_arriving", stopped)
    with again:
        assert receive_piece(stores, digest, 0, GOOD) == later[0].result(10) == len(GOOD)
    assert stores.blobs.get(digest) == GOOD
    assert list((stores.root / receiving.ARRIVING).iterdir()) == []
    assert stores.blobs.get(digest) == GOOD


def test_the_pin_outlives_a_rotation(servers: Servers) -> None:
    pinned = servers.key
    rotate_key(servers.lab.platform.stores, by="root")
    assert servers.key != pinned
    release = make_release(servers.lab.platform, "r1", [], ["nothing@1.0.0"], by="ada")
    assert servers.send_all(servers.letter(servers.promotion(release))).environment == "production"


def test_people_and_rights_are_of_both_servers(servers: Servers, sent: Letter) -> None:
    there = servers.send_all(sent)
    stores = servers.far.platform.stores
    with stores.db.read() as connection:
        release = find_release(connection, there.release)
    parties = parties_of(servers.far.platform, release, there)
    assert set(parties[Party.REQUESTER]) == {"lab", "ada"}
    assert "eve" in parties[Party.AUTHOR]
    lock = stores.blobs.put(b"x")
    local = record_release(stores, Release(locks=(Pin("m", "1", lock),)), "mine", by="ada")
    with pytest.raises(Refused, match="was not sent from there"):
        request_promotion(stores, local.digest, "production", by="ada")
    narrow = replace(LAB, scope=replace(LAB.scope, verbs=frozenset({Verb.REQUEST_PROMOTION})))
    for kind in (PromotionKind.ROLLBACK, PromotionKind.EMERGENCY):
        other = servers.signed(sent, kind=kind, reason="bad", promotion_id=sent_id(kind))
        with pytest.raises(Forbidden, match="this token"):
            servers.send(other, who=narrow)
    emergency = servers.signed(
        sent, kind=PromotionKind.EMERGENCY, promotion_id=sent_id(PromotionKind.EMERGENCY)
    )
    with pytest.raises(Forbidden, match="has not broken the glass"):
        servers.send(emergency)
    with (
        servers.lab.platform.stores.db.read() as connection,
        pytest.raises(Refused, match="is live on another server"),
    ):
        admit(connection, "production", "This pipeline", [digest_of(GOOD)])


def sent_id(kind: PromotionKind) -> str:
    return f"00000000-0000-7000-8000-{len(kind):012d}"
