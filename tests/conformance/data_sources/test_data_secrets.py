"""What sources are entered with: it works, and it is nowhere but in the sealed store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamline.data.ingest import ingest
from seamline.server import ControlPlane

WORD = "hunter22-of-the-database"  # the shop's
Ask = Callable[..., Any]
Declare = Callable[[str], None]


def keep(ask: Ask, name: str, **values: str) -> None:
    answer = ask(f"/environments/dataops/secrets/{name}", {"values": values})
    assert answer.status_code == 200, answer.text


def test_secrets_are_used_and_are_nowhere(
    plane: ControlPlane,
    ask: Ask,
    declare: Declare,
    said: list[str],
    shop: Any,
    bucket: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    uri, run, database = shop.uri, shop.run, shop.user
    key = bucket.options["secret_access_key"]
    keep(ask, "shop", uri=uri, user=database, password=WORD)
    keep(ask, "lake", uri=bucket.uri, **bucket.options)
    bucket.put("in/a.csv", b"id,at\n1,2025-03-01T08:00:00Z\n")
    declare(
        f"""
        [datasets.calls]
        time = "at"
        source = "{uri}"
        table = "calls"
        since = "id"
        credentials = "shop"

        [datasets.files]
        time = "at"
        source = "{bucket.uri}/in"
        credentials = "lake"

        [datasets.wrong]
        time = "at"
        source = "{uri}"
        table = "calls"
        since = "id"
        credentials = "lake"
        """,
    )

    # It works: rows come in, more come in, the same do not.
    first = ask("/datasets/calls/ingests", {}).json()
    assert (first["version"], first["rows"], first["is_new"]) == (1, 2, True), first
    assert ask("/datasets/calls/ingests", {}).json()["is_new"] is False
    run(f"INSERT INTO {database}.calls VALUES (3, '2025-03-03 08:00', 1)")
    second = ask("/datasets/calls/ingests", {}).json()
    assert (second["version"], second["rows"], second["rows_added"]) == (2, 3, 1), second
    assert ask("/datasets/files/ingests", {}).json()["rows"] == 1
    bucket.put("in/b.csv", b"id,at\n2,2025-03-02T08:00:00Z\n")
    named = {"uri": f"{bucket.uri}/in/b.csv"}
    assert ask("/datasets/files/ingests", named).json()["rows"] == 2
    assert (
        ask("/datasets/files/ingests", {}).json() | {"is_new": False, "rows": 2}
        == ask("/datasets/files/ingests", {}).json()
    )
    for place in (
        {"to": f"{bucket.uri}/out/calls.csv", "credentials": "lake"},
        {"to": f"{bucket.uri}/out/delta", "credentials": "lake", "form": "delta"},
        {"to": uri, "credentials": "shop", "table": "copied"},
    ):
        answer = ask("/datasets/calls@2/exports", place)
        assert answer.json().get("rows") == 3, answer.text

    # It fails, in every way that could repeat a secret.
    for path, body, says in (
        ("/datasets/wrong/ingests", {}, "is for s3://"),
        ("/datasets/files/ingests", {"uri": "s3://lake/elsewhere.csv"}, "is not below"),
        ("/datasets/calls/ingests", {"since": "x"}, "does not read as Int64"),
        (
            "/datasets/calls@2/exports",
            {"to": f"{bucket.uri}/in/a.csv", "credentials": "lake"},
            "did not write",
        ),
        (
            "/datasets/calls@2/exports",
            {"to": uri.replace("mysql://", f"mysql://u:{WORD}@"), "table": "x"},
            "cannot hold a password",
        ),
    ):
        answer = ask(path, body)
        assert answer.status_code >= 400 and says in answer.text, answer.text
    keep(ask, "shop", password=f"{WORD}-no-more")
    refused = ask("/datasets/calls/ingests", {})
    assert refused.status_code == 503 and "Access denied" in refused.text
    keep(ask, "lake", secret_access_key=f"{key}-no-more")
    assert ask("/datasets/files/ingests", {}).status_code == 503
    for path in ("/datasets", "/datasets/calls", "/datasets/calls@1", "/facts"):
        ask(path)

    # It is nowhere.
    printed = "".join(capfd.readouterr())
    for secret in (WORD, key):
        assert secret not in "".join(said)
        assert secret not in caplog.text
        assert secret not in printed
        assert files_with(plane.platform.root, secret.encode()) == []
    assert list((plane.platform.root / "incoming").iterdir()) == []


def files_with(root: Path, words: bytes) -> list[Path]:
    """The database, its log, the facts, the tables, all that there is."""
    return [path for path in root.rglob("*") if path.is_file() and words in path.read_bytes()]


def test_a_declaration_with_a_password_is_not_applied(
    plane: ControlPlane, declare: Declare
) -> None:
    with pytest.raises(Exception, match="cannot hold a password") as found:
        declare(f'[datasets.calls]\ntime = "at"\nsource = "postgresql://u:{WORD}@db/w"\n')
    assert WORD not in str(found.value)
    assert "seamline secret set" in str(found.value)
    assert files_with(plane.platform.root, WORD.encode()) == []


def test_a_file_sent_by_hand_does_not_make_the_source_be_read_anew(
    plane: ControlPlane, ask: Ask, declare: Declare, tmp_path: Path
) -> None:
    """Nor do rows of the source come twice, whoever asks how often."""
    lake = tmp_path / "lake"
    lake.mkdir()
    declare(f'[datasets.calls]\ntime = "at"\nsource = "file://{lake}"\n')
    (lake / "a.csv").write_text("id,at\n1,2025-03-01T08:00:00Z\n")
    assert ask("/datasets/calls/ingests", {}).json()["rows"] == 1
    by_hand = tmp_path / "by-hand.csv"
    by_hand.write_text("id,at\n2,2025-03-02T08:00:00Z\n")
    ingest(
        plane.platform.stores,
        plane.platform.declarations().dataset("calls"),
        by_hand,
        source="by-hand.csv",
        by="ada",
    )
    again = ask("/datasets/calls/ingests", {}).json()
    assert (again["version"], again["rows"], again["is_new"]) == (2, 2, False)
