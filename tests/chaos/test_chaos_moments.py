"""kill -9 at random moments: after the restart nothing is lost and nothing was done twice.

A seeded sample; `--soak` plays the full counts. A failure names the seed and the moment.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from tests.waiting import wait_until

SEED = 20130901


@pytest.fixture
def moments(request):
    """Random delays in seconds, the same for each run of this test."""
    drawn = random.Random(f"{SEED} {request.node.originalname}")
    return lambda longest_s: drawn.uniform(0, longest_s)


@pytest.fixture
def rounds(soak):
    return lambda sample, full: range(full if soak else sample)


@contextmanager
def killed_meanwhile(house, after_s):
    """The server dies so long after the block began, whatever the block has reached by then."""

    def wait_and_kill():
        # The moment itself is what is drawn here: there is no event to wait for.
        time.sleep(after_s)
        house.kill()

    killer = threading.Thread(target=wait_and_kill)
    killer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        pass  # cut off: the asker learns nothing of what was done
    finally:
        killer.join()
    assert house.up()["adopted"] is True, f"after {after_s} s"
    assert house.ask("/audit/verify")["broken"] is None, f"after {after_s} s"


def test_ingest(house, delivery, moments, rounds):
    for n in rounds(2, 100):
        before = house.ask("/datasets/numbers")
        day = before["version"] + 1
        body = delivery(day, 4000)
        path = f"/datasets/numbers/deliveries?source=day-{day}.csv"
        with killed_meanwhile(house, moments(0.25)):
            house.ask(path, file=body)
        again = house.ask(path, file=body)
        assert again["version"] == day, f"round {n}"
        assert again["rows"] == before["rows"] + 4000
        assert house.ask(f"/datasets/numbers@{day}/verify")["files"] == day
    versions = [one["body"]["version"] for one in house.facts("dataset.version_committed")]
    assert versions == list(range(1, day + 1))
    wait_until(lambda: list((house.workspace / "incoming").iterdir()) == [])


def test_packaging(house, moments, rounds):
    for n in rounds(1, 40):
        run = house.train()
        ended = house.until(lambda run=run: house.run_ended(run))
        assert ended["state"] == "succeeded"
        with killed_meanwhile(house, moments(1.5)):
            pass
        found = house.until(lambda run=run: house.version_of(run))
        assert [one["run_id"] for one in house.ask("/models")].count(run) == 1, f"round {n}"
        assert house.ask(f"/models/line/verify?version={found['version']}")
    registered = Counter(one["body"]["run_id"] for one in house.facts("model.version_registered"))
    assert set(registered.values()) == {1}
    published = Counter(one["body"]["filename"] for one in house.facts("package.published"))
    assert set(published.values()) == {1}
    versions = sorted(one["version"] for one in house.ask("/models"))
    assert len(versions) == len(registered)


@pytest.mark.parametrize("phase", ["release", "request", "approval"])
def test_promotion(house, training_ir, moments, rounds, phase):
    """Killed while a release is made and enters development, is asked for, or is applied."""
    for n in rounds(1, 40):
        alias = f"{phase}-{n}"
        ir = training_ir.replace("Fits a line", f"Fits line {alias}").encode()
        pushed = house.ask(f"/pipelines?tags={alias}", file=ir)
        pins = ["1.0.0", [f"{pushed['package']}@{alias}"]]
        if phase == "release":
            with killed_meanwhile(house, moments(0.5)):
                house.release(alias, *pins)
        known = {one["alias"]: one["digest"] for one in house.ask("/releases")}
        digest = known.get(alias) or house.release(alias, *pins)["digest"]
        house.until(
            lambda digest=digest: (house.phase(digest, "development") or {}).get("phase") == "live"
        )
        if phase == "request":
            with killed_meanwhile(house, moments(0.3)):
                house.ask("/promotions", {"release": digest, "environment": "staging"})
        if phase == "approval":
            with killed_meanwhile(house, moments(0.6)):
                house.promote(digest, "staging")
        house.promote(digest, "staging")
        check_promoted(house, digest)


def check_promoted(house, digest):
    """The pointer moved once, each phase came once, and the file that is served says the same."""
    for environment in ("development", "staging"):
        assert house.live(environment) == digest
        changed = [
            one["body"]["promotion_id"]
            for one in house.facts("environment.changed")
            if (one["subject"], one["body"]["release"]) == (environment, digest)
        ]
        assert len(changed) == 1
        phases = [
            one["body"]["after"]
            for one in house.facts("promotion.moved")
            if one["subject"] == changed[0]
        ]
        expected = ["checking", "awaiting_approval", "applying", "verifying", "live"]
        assert phases == [one for one in expected if one in phases]
        assert phases[-1] == "live"
        approvals = [one for one in house.facts("approval.given") if one["subject"] == changed[0]]
        assert len(approvals) == ("awaiting_approval" in phases)
        written = [one for one in house.facts("snapshot.written") if one["subject"] == environment]
        assert written[-1]["body"]["release"] == digest
        # The plane looks for a new file by itself.
        newest = written[-1]["body"]["version"]
        house.until(lambda e=environment, v=newest: house.ready(e)["snapshot_version"] >= v)
