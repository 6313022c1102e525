"""Releases of what is not there, rows edited behind the server's back, bytes that change while
somebody thinks: against a real server, from the outside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def as_(kiosk: Any) -> Callable[[str], Any]:
    return lambda name: kiosk.person.with_token(kiosk.tokens[name])


@pytest.fixture
def waiting(kiosk: Any, as_: Callable[[str], Any]) -> Iterator[str]:
    """A promotion to staging that asks for two approvals; ended when the test is done."""
    found = as_("rita").data("promote", "first", "--to", "staging")
    assert found["phase"] == "awaiting_approval"
    yield str(found["id"])
    if _promotion(kiosk, found["id"])["phase"] == "awaiting_approval":
        as_("bert").data("promotion", "reject", found["id"], "--reason", "the test is over")


def _promotion(kiosk: Any, promotion: str) -> Any:
    return kiosk.person.data("promotion", "show", promotion)


def _write(kiosk: Any, sql: str, *words: object) -> None:
    """Behind the server's back."""
    database = sqlite3.connect(kiosk.workspace / "seamline.db", timeout=120)
    with closing(database), database:
        assert database.execute(sql, words).rowcount > 0


@contextmanager
def _edited(
    kiosk: Any, table: str, column: str, key: tuple[str, str], value: str
) -> Iterator[None]:
    """Put back at the end."""
    database = sqlite3.connect(kiosk.workspace / "seamline.db", timeout=120)
    query = f"SELECT {column} FROM {table} WHERE {key[0]} = ?"
    with closing(database):
        [before] = database.execute(query, key[1:]).fetchone()
    change = f"UPDATE {table} SET {column} = ? WHERE {key[0]} = ?"
    _write(kiosk, change, value, key[1])
    try:
        yield
    finally:
        _write(kiosk, change, before, key[1])
        assert kiosk.person.data("audit", "verify")["problems"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "ice-crem"), "Did you mean ice-cream?"),
        (("--model", "ice-cream@9.9.9"), "9.9.9"),
        (("--pipeline", "sales-traning@1.0.0"), "sales-traning"),
        (("--pipeline", "sales-training@9.9.9"), "9.9.9"),
        ((), "Name a --model or a --pipeline."),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_bad_input_a_release_of_what_is_not_stored(
    kiosk: Any, as_: Callable[[str], Any], words: tuple[str, ...], said: str
) -> None:
    with kiosk.untouched():
        assert said in as_("rita").is_refused("release", "create", "nothing", *words)


def test_bad_input_a_policy_with_an_unknown_gate(person: Any) -> None:
    text = 'project = "x"\nteam = "x"\n[environments.dataops]\n[environments.qa]\n'
    path = person.folder / "seamline.toml"
    path.write_text(f'{text}after = "dataops"\ngates = ["digests", "provenence"]\n')
    said = person.is_refused("apply")
    assert said.startswith("invalid_input: environments.qa: there is no gate 'provenence'.")
    assert "Did you mean provenance?" in said


def test_bad_input_a_pointer_moved_in_the_database(kiosk: Any) -> None:
    other = "sha256:" + "0f" * 32
    with _edited(kiosk, "environments", "release", ("name", "development"), other):
        said = kiosk.person.is_refused("audit", "verify")
        assert f"environment development: its row says {other}" in said
        assert kiosk.release in said
        said = kiosk.person.is_refused("run", "submit", "sales-training@1.0.0", "-e", "development")
        assert f"is live in development: expected {kiosk.release}, found {other}" in said
        said = kiosk.person.is_refused("rollback", "development", "--reason", "bad")
        assert f"expected {kiosk.release}, found {other}" in said


def test_bad_input_a_policy_loosened_in_the_database(kiosk: Any) -> None:
    board = kiosk.person.data("board")["environments"]
    policy = next(one["policy"] for one in board if one["name"] == "production")
    assert policy["approvals"]["count"] == 1
    policy["approvals"]["count"] = 0
    with _edited(kiosk, "environments", "policy", ("name", "production"), json.dumps(policy)):
        said = kiosk.person.is_refused("audit", "verify")
        assert "policy of production: its row says sha256:" in said


def test_bad_input_approvals_that_nobody_gave(
    kiosk: Any, as_: Callable[[str], Any], waiting: str
) -> None:
    """Two rows, as an approval writes them, and no fact."""
    for name in ("anna", "bert"):
        _write(
            kiosk,
            "INSERT INTO approvals (id, promotion_id, principal, policy_digest, evidence_digest, "
            "comment, at, self_approved) SELECT ?, id, ?, policy_digest, evidence_digest, '', "
            "updated_at, '' FROM promotions WHERE id = ?",
            f"forged-{name}",
            name,
            waiting,
        )
    kiosk.follow(lambda: _promotion(kiosk, waiting)["phase"] == "errored")
    reason = _promotion(kiosk, waiting)["reason"]
    for name in ("anna", "bert"):
        assert f"no fact tells the approval of {name}" in reason
    assert "no fact tells the approval of anna" in kiosk.person.is_refused("audit", "verify")
    board = kiosk.person.data("board")["environments"]
    assert next(one["release"] for one in board if one["name"] == "staging") is None
    _write(kiosk, "DELETE FROM approvals WHERE id LIKE 'forged-%'")
    kiosk.person.data("audit", "verify")


@pytest.mark.parametrize("how", ["altered", "removed"])
def test_bad_input_bytes_that_go_while_somebody_thinks(
    kiosk: Any, as_: Callable[[str], Any], waiting: str, how: str
) -> None:
    shown = kiosk.person.data("model", "show", "ice-cream", "--version", "1.0.0")
    path = Path(shown["path"])
    whole, mode = path.read_bytes(), path.stat().st_mode
    try:
        path.chmod(0o644)
        if how == "altered":
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        else:
            path.unlink()
        # Carl's token is revoked by another test of this folder.
        as_("anna").data("promotion", "approve", waiting)
        said = as_("bert").is_refused("promotion", "approve", waiting)
        assert f"Promotion {waiting} of first to staging failed" in said
        kiosk.follow(lambda: _promotion(kiosk, waiting)["phase"] == "failed")
    finally:
        path.write_bytes(whole)
        path.chmod(mode)
    assert "ice-cream 1.0.0" in _promotion(kiosk, waiting)["reason"]
    board = kiosk.person.data("board")["environments"]
    assert next(one["release"] for one in board if one["name"] == "staging") is None
    assert kiosk.person.data("audit", "verify")["broken"] is None
