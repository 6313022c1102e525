from __future__ import annotations

import base64
import hashlib
import io
import zipfile

import pytest

from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
)
from seamline.domain.states import Role
from seamline.register.models import catalogue as models
from seamline.register.packages import index
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.keys import SigningKey
from seamline.trust.roles import Principal


def small_wheel(name: str, version: str, source: str = "x = 1\n") -> bytes:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')}"
        f",{len(text)}\n"
        for path, text in files.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return buffer.getvalue()


BOSS = Principal("bob", frozenset({Role.ADMIN}))
FILE = "team_tools-1.0-py3-none-any.whl"


def test_a_published_version_never_changes(stores: Stores) -> None:
    data = small_wheel("team-tools", "1.0")
    file = index.publish_package(stores, FILE, data, by="ada")
    assert (file.environment, file.name, file.version) == ("dataops", "team-tools", "1.0")
    assert index.publish_package(stores, FILE, data, by="ada") == file
    assert index.read_package_file(stores, file) == data
    assert index.read_package_metadata(stores, file).startswith(b"Metadata-Version")
    other = small_wheel("team-tools", "1.0", "x = 2\n")
    for filename in (FILE, "team_tools-1.0-2-py3-none-any.whl"):
        with pytest.raises(Conflict, match=r"team-tools 1\.0 is published with other bytes"):
            index.publish_package(stores, filename, other, by="ada")
    for tag in ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64"):
        index.publish_package(stores, f"team_tools-1.0-{tag}.whl", other, by="ada")
    with stores.db.read() as connection:
        kinds = [fact.kind for fact in read_facts(connection)]
    assert kinds == ["package.published"] * 3


def test_names_have_owners(stores: Stores, late_wheel: bytes, key: SigningKey) -> None:
    index.publish_package(stores, FILE, small_wheel("team-tools", "1.0"), by="ada")
    second = small_wheel("team-tools", "1.1"), "team_tools-1.1-py3-none-any.whl"
    with pytest.raises(Forbidden, match="belongs to ada; bob"):
        index.publish_package(stores, second[1], second[0], by="bob")
    index.publish_package(stores, second[1], second[0], by="bob", who=BOSS)
    models.register_model_version(stores, late_wheel, key=key, by="ada")
    data = small_wheel("late-arrival", "9.9")
    with pytest.raises(Refused, match="model's name"):
        index.publish_package(stores, "late_arrival-9.9-py3-none-any.whl", data, by="ada", who=BOSS)


def test_a_model_cannot_take_a_package_name(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    data = small_wheel("late-arrival", "0.1")
    index.publish_package(stores, "late_arrival-0.1-py3-none-any.whl", data, by="eve")
    with pytest.raises(Conflict, match="eve published a package named late-arrival"):
        models.register_model_version(stores, late_wheel, key=key, by="ada")
    assert models.list_models(stores) == []


def test_indexes_list_what_was_admitted(stores: Stores) -> None:
    for version in ("1.0", "1.1"):
        filename = f"team_tools-{version}-py3-none-any.whl"
        index.publish_package(stores, filename, small_wheel("team-tools", version), by="ada")
    assert index.list_package_names(stores, "staging") == []
    for _ in range(2):
        with stores.db.transaction() as tx:
            [file] = index.admit(tx, stores.clock, "staging", "Team_Tools", "1.0", by="rel")
    assert index.list_package_files(stores, "staging", "team-tools") == [file]
    assert index.list_package_names(stores, "staging") == ["team-tools"]
    found = index.find_package_file(stores, "staging", FILE)
    assert found.digest == index.find_package_file(stores, "dataops", FILE).digest
    with pytest.raises(NotFound), stores.db.transaction() as tx:
        index.admit(tx, stores.clock, "staging", "team-tools", "9", by="rel")
    with pytest.raises(NotFound):
        index.find_package_file(stores, "production", FILE)
    assert index.is_ours(stores, "team_tools")
    assert not index.is_ours(stores, "numpy")


def test_announced_otherwise(sqlite_stores: Stores) -> None:
    data = small_wheel("team-tools", "1.0")
    for announced in (("other", "1.0"), ("team-tools", "1.1")):
        with pytest.raises(InvalidInput, match="announced"):
            index.publish_package(sqlite_stores, FILE, data, by="ada", announced=announced)
    index.publish_package(sqlite_stores, FILE, data, by="ada", announced=("Team.Tools", "1.0.0"))


def test_altered_wheels_are_refused(sqlite_stores: Stores) -> None:
    data = small_wheel("team-tools", "1.0")
    file = index.publish_package(sqlite_stores, FILE, data, by="ada")
    sqlite_stores.blobs.path_of(file.digest).write_bytes(data + b"x")
    with pytest.raises(DigestMismatch, match=file.filename):
        index.read_package_file(sqlite_stores, file)
