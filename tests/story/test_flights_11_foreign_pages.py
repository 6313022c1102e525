"""A web page of another origin cannot approve anything on the loopback server.

What a browser would send for such a page, sent by hand. The loopback owner is admin without a
token, so nothing but these checks stands between the page and an approval.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode, urlsplit

import pytest

EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def waiting(world):
    """The retrained release, waiting for an approval in staging."""
    world.play("monitor")
    return next(
        one["id"]
        for one in world.seamline("promotion", "list")
        if one["phase"] == "awaiting_approval"
    )


def attacks(host: str) -> dict[str, dict[str, str]]:
    return {
        "a script's fetch": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
        "an older browser": {"Origin": EVIL},
        "a sandboxed frame": {"Origin": "null"},
        "the same port of another host": {"Origin": f"http://evil.example:{host.split(':')[1]}"},
        "another port of this host": {
            "Origin": "http://127.0.0.1:1",
            "Sec-Fetch-Site": "same-site",
        },
        "a rebound name": {"Host": f"evil.example:{host.split(':')[1]}"},
        "a rebound name and its own origin": {"Host": "evil.example", "Origin": EVIL},
        "no origin, but marked": {"Sec-Fetch-Site": "cross-site"},
    }


@pytest.mark.parametrize("attack", attacks("h:0"))
@pytest.mark.parametrize("way", ["api", "api as plain text", "form"])
def test_it_is_refused_and_nothing_is_approved(world, waiting, attack, way):
    headers = attacks(urlsplit(world.url).netloc)[attack]
    if way == "form":
        body = urlencode({"comment": "", "form_token": ""}).encode()
        kind = "application/x-www-form-urlencoded"
        path = f"/approvals/{waiting}/approve"
    else:
        body = json.dumps({"comment": "ha"}).encode()
        kind = "application/json" if way == "api" else "text/plain"
        path = f"/api/v1/promotions/{waiting}/approve"
    status, _, said = world.ask(path, body, **{"Content-Type": kind, **headers})
    assert status == 403, said
    found = world.get(f"/api/v1/promotions/{waiting}")
    assert (found["phase"], found["approvals"]) == ("awaiting_approval", [])


def test_a_form_without_the_pages_token_is_refused(world, waiting):
    """What is left to a page that hides its origin: it cannot read the form's token."""
    body = urlencode({"comment": "", "form_token": "0" * 64}).encode()
    kind = "application/x-www-form-urlencoded"
    status, _, _ = world.ask(f"/approvals/{waiting}/approve", body, **{"Content-Type": kind})
    assert status == 403


def test_looking_never_approves(world, waiting):
    for path in (f"/api/v1/promotions/{waiting}/approve", f"/approvals/{waiting}/approve"):
        assert world.ask(path, Origin=EVIL)[0] in (403, 404, 405)
    assert world.get(f"/api/v1/promotions/{waiting}")["approvals"] == []


def test_no_answer_invites_another_origin(world):
    for path in ("/api/v1/board", "/", "/approvals"):
        _, headers, _ = world.ask(path, Origin=EVIL)
        assert "access-control-allow-origin" not in {name.lower() for name in headers}


def test_our_own_page_and_a_token_do_approve(world, waiting):
    """The control: from here the same request goes through."""
    headers = {"Origin": world.url, "Sec-Fetch-Site": "same-origin"}
    status, _, said = world.ask(
        f"/api/v1/promotions/{waiting}/approve", {"comment": "seen"}, who="bea", **headers
    )
    assert status == 200, said
    assert [one["principal"] for one in json.loads(said)["approvals"]] == ["bea"]
