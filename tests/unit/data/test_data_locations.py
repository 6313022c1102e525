"""Where rows come from and go to: no secret in a URI, no credentials for another place."""

from __future__ import annotations

from pathlib import Path

import pytest

from seamline.data.credentials import load_credentials
from seamline.data.databases import open_database
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.locations import Kind, is_within, parse_location
from seamline.data.sources.opening import check_local, check_repeatable, check_uri, open_source
from seamline.domain.errors import Forbidden, InvalidInput, NotFound, Refused
from seamline.store.stores import Stores
from seamline.trust.secrets import SecretKind, set_values

HUSH = "hunter22"


@pytest.mark.parametrize(
    "uri",
    [
        f"postgresql://ann:{HUSH}@db/warehouse",
        f"mysql://:{HUSH}@db/warehouse",
        f"postgresql://db/warehouse?password={HUSH}",
        f"mysql://db/warehouse?ssl_key_password={HUSH}",
        f"s3://key:{HUSH}@bucket/calls",
        f"snowflake://account/DB/S/T?token={HUSH}",
        f"databricks://token:{HUSH}@host/c/s/t",
        f"postgresql://ann:{HUSH}@[db/warehouse",
    ],
)
def test_a_uri_with_a_secret_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(InvalidInput) as found:
        parse_location(uri)
    assert HUSH not in str(found.value)
    with pytest.raises(InvalidInput) as found:
        DatasetDeclaration("calls", source=uri)
    assert HUSH not in str(found.value)


@pytest.mark.parametrize(
    ("uri", "kind", "host", "path"),
    [
        ("/data/calls.csv", Kind.FILE, "", "data/calls.csv"),
        ("file:///data/my%20calls.csv", Kind.FILE, "", "data/my%20calls.csv"),
        ("S3A://lake/a b?c#d", Kind.OBJECT, "lake", "a b?c#d"),
        ("gcs://lake/x", Kind.OBJECT, "lake", "x"),
        ("postgres://ann@db:5433/w", Kind.SQL, "db:5433", "w"),
        ("mariadb://db/w", Kind.SQL, "db", "w"),
        ("mysql://[::1]:3307/w", Kind.SQL, "[::1]:3307", "w"),
        ("sqlite:///data/calls.db", Kind.SQL, "", "data/calls.db"),
        ("sqlite:////data/calls.db", Kind.SQL, "", "data/calls.db"),
        ("bigquery://shop/web/orders", Kind.WAREHOUSE, "shop", "web/orders"),
    ],
)
def test_what_a_uri_names(uri: str, kind: Kind, host: str, path: str) -> None:
    found = parse_location(uri)
    assert (found.kind, found.host, found.path) == (kind, host, path)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ftp://host/x", "Known: "),
        ("postgresq://host/x", "Did you mean postgresql"),
        ("s3:///calls", "names no host"),
        ("calls.csv", "is a relative path"),
        ("file://host/calls", "another machine"),
        ("s3://lake/../other", "holds '..'"),
        ("s3://lake/a\x07b", "do not print"),
    ],
)
def test_what_cannot_be_a_place(uri: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse_location(uri)


def test_below_is_by_whole_names() -> None:
    assert is_within("s3://lake", parse_location("s3://lake/calls/x"))
    assert is_within("postgresql://db/w", parse_location("postgresql://ann@db/w?sslmode=require"))
    assert not is_within("postgresql://db/w", parse_location("postgresql://db:5433/w"))
    assert not is_within("postgresql://db/w", parse_location("postgresql://evil/w"))
    assert not is_within("s3://lake/calls", parse_location("gs://lake/calls/x"))


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://db/w?host=evil.example",
        "postgresql://db/w?sslmode=require&hostaddr=10.0.0.1",
        "postgresql://db/w?sslrootcert=/etc/passwd",
        "postgresql://db/host=evil.example",
        "postgresql://db/w x",
    ],
)
def test_a_connection_string_cannot_name_another_host_or_a_file(uri: str) -> None:
    with (
        pytest.raises(InvalidInput, match=r"cannot have the option|is no database's name"),
        open_database(parse_location(uri)),
    ):
        pass


# -- credentials ---------------------------------------------------------------------------------
def keep(stores: Stores, **values: str) -> None:
    given = {key: value.encode() for key, value in values.items()}
    set_values(stores, "dataops", SecretKind.SECRET, "warehouse", given, by="ada")


def test_credentials_are_for_the_place_that_their_owner_named(stores: Stores) -> None:
    keep(stores, uri="postgresql://db.example/w", user="ann", password=HUSH)
    here = parse_location("postgresql://db.example/w?sslmode=require")
    found = load_credentials(stores, "dataops", "warehouse", here)
    assert (found.get("user"), found.get("password"), found.get("uri")) == ("ann", HUSH, None)
    assert HUSH not in repr(found)
    assert found.redact(f"ann said {HUSH}") == "ann said ***"
    elsewhere = parse_location("postgresql://evil.example/w")
    with pytest.raises(Refused, match=r"is for postgresql://db\.example/w, not for") as refused:
        load_credentials(stores, "dataops", "warehouse", elsewhere)
    assert HUSH not in str(refused.value)


def test_credentials_that_do_not_say_where(stores: Stores) -> None:
    keep(stores, password=HUSH)
    here = parse_location("postgresql://db.example/w")
    with pytest.raises(InvalidInput, match="seamline secret set warehouse uri") as found:
        load_credentials(stores, "dataops", "warehouse", here)
    assert HUSH not in str(found.value)
    with pytest.raises(NotFound, match="Did you mean warehouse"):
        load_credentials(stores, "dataops", "warehous", here)
    with pytest.raises(NotFound):
        load_credentials(stores, "production", "warehouse", here)


def test_bytes_are_no_credentials(stores: Stores) -> None:
    values = {"uri": b"s3://lake", "key": b"\xff"}
    set_values(stores, "dataops", SecretKind.SECRET, "lake", values, by="ada")
    with pytest.raises(InvalidInput, match="no text"):
        load_credentials(stores, "dataops", "lake", parse_location("s3://lake/x"))


# -- what may be read ----------------------------------------------------------------------------
def test_a_given_uri_has_to_be_below_the_declared_source() -> None:
    declared = DatasetDeclaration("calls", source="s3://lake/calls")
    assert check_uri(declared, "s3://lake/calls/july.csv").path == "calls/july.csv"
    with pytest.raises(Refused, match="is not below s3://lake/calls"):
        check_uri(declared, "s3://lake/secrets/x.csv")
    with pytest.raises(Refused, match="declares no source"):
        check_uri(DatasetDeclaration("calls"), "s3://lake/calls/july.csv")


def test_the_servers_own_files_are_for_admins_and_the_workspace_for_nobody(tmp_path: Path) -> None:
    workspace = tmp_path / ".seamline"
    (workspace / "keys").mkdir(parents=True)
    (tmp_path / "link").symlink_to(workspace / "keys")
    there = parse_location(f"file://{tmp_path}/calls.csv")
    check_local(there, workspace, is_admin=True)
    check_local(parse_location("s3://lake/calls"), workspace, is_admin=False)
    for uri in (str(there.uri), f"sqlite://{tmp_path}/calls.db"):
        with pytest.raises(Forbidden, match="only an admin"):
            check_local(parse_location(uri), workspace, is_admin=False)
    for path in (".seamline/keys/signing.key", "link/signing.key"):
        with pytest.raises(Forbidden, match="in the workspace itself"):
            check_local(parse_location(f"file://{tmp_path}/{path}"), workspace, is_admin=True)


def test_a_whole_table_is_not_appended_again_and_again(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='Declare since = "COLUMN"'):
        check_repeatable(DatasetDeclaration("calls", table="calls"))
    check_repeatable(DatasetDeclaration("calls", table="calls", mode=Mode.REPLACE))
    check_repeatable(DatasetDeclaration("calls", query="SELECT 1 AS a"))


def test_sources_that_have_no_column_to_begin_at(tmp_path: Path) -> None:
    declared = DatasetDeclaration("calls", source=str(tmp_path))
    with pytest.raises(InvalidInput, match="--since is for databases"):
        open_source(str(tmp_path), declared, tmp_path, since=None, start="2026-01-01")
    with pytest.raises(InvalidInput, match="seamline data pin calls"):
        open_source("bigquery://shop/web/orders", declared, tmp_path, since=None)
