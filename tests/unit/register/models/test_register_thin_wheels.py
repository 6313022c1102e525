"""Thin twins of model wheels, and the loader that they stand on."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesHeaderParser
from typing import Any

import pytest
from seamline_loader.configuration import VARIABLES
from sqlalchemy import delete

from seamline.domain.errors import NotFound, Refused
from seamline.domain.settings import LOADERS, Settings, settings_from
from seamline.register.models.catalogue import register_model_version, verify_model_version
from seamline.register.models.loader_wheel import (
    LOADER,
    build_loader_wheel,
    find_loader_source,
    publish_loader,
)
from seamline.register.models.thin_wheels import (
    build_thin_wheel,
    find_payload,
    find_thin_wheel,
    list_thin_wheels,
)
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages.index import (
    admit,
    is_ours,
    list_package_files,
    publish_package,
    read_package_file,
)
from seamline.register.packages.wheel_check import check_wheel
from seamline.register.packages.wheel_pack import wheel_name
from seamline.register.rows import THIN_WHEELS
from seamline.store.stores import Stores
from seamline.trust.keys import SigningKey
from seamline.trust.statements import STATEMENT_TYPE, open_envelope

NAME = wheel_name("late-arrival", "1.0.0")


def files_of(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_fat_and_thin_say_the_same_and_name_the_same_payload(late_wheel: bytes) -> None:
    thin = build_thin_wheel(io.BytesIO(late_wheel))
    assert thin is not None
    assert thin == build_thin_wheel(io.BytesIO(late_wheel))
    assert len(thin) < 16_000 < len(late_wheel), len(thin)
    fat_files, thin_files = files_of(late_wheel), files_of(thin)
    assert [name for name in thin_files if "payload" in name] == []
    for name in ("late_arrival/model.json", "late_arrival/_loader/opening.py"):
        assert thin_files[name] == fat_files[name]
    assert json.loads(thin_files["late_arrival/model.json"])["payload_digest"].startswith("sha256:")
    fat_info, thin_info = check_wheel(NAME, late_wheel), check_wheel(NAME, thin)
    assert (thin_info.name, thin_info.version) == (fat_info.name, fat_info.version)
    parse = BytesHeaderParser().parsebytes
    needs = [parse(info.metadata).get_all("Requires-Dist") for info in (fat_info, thin_info)]
    assert needs[1] == [*needs[0], "seamline-loader<2,>=1.1"]
    assert parse(fat_info.metadata).get_payload() == parse(thin_info.metadata).get_payload()


def test_wheels_whose_loader_takes_no_other_bytes_have_no_twin(late_wheel: bytes) -> None:
    files = files_of(late_wheel)
    files["late_arrival/_loader/opening.py"] = b"def load_model(package): ..."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert build_thin_wheel(buffer) is None


def test_registered_with_the_fat_one_and_signed(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    registered = register_model_version(stores, late_wheel, key=key, by="ada")
    [thin] = list_thin_wheels(stores, "dataops", "late-arrival")
    assert thin == find_thin_wheel(stores, "dataops", NAME)
    assert (thin.filename, thin.version) == (NAME, "1.0.0")
    data = read_package_file(stores, thin)
    assert json.loads(files_of(data)["late_arrival/model.json"]) == registered.document
    envelope = stores.blobs.get(registered.statement_digest)
    statement = json.loads(open_envelope(envelope, STATEMENT_TYPE, [key.public]))
    subjects = {one["name"]: "sha256:" + one["digest"]["sha256"] for one in statement["subject"]}
    assert subjects[f"thin/{NAME}"] == thin.digest
    assert subjects["late_arrival/payload/model.skops"] == registered.payload_digest
    verify_model_version(stores, "late-arrival", "1.0.0", key.public)


def test_environments_have_what_was_promoted_there(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    digest = register_model_version(stores, late_wheel, key=key, by="ada").payload_digest
    assert list_thin_wheels(stores, "staging", "late-arrival") == []
    with pytest.raises(NotFound, match="staging"):
        find_thin_wheel(stores, "staging", NAME)
    with pytest.raises(NotFound, match="payload of a model in staging"):
        find_payload(stores, "staging", digest)
    with stores.db.transaction() as tx:
        admit(tx, stores.clock, "staging", "late-arrival", "1.0.0", by="ada")
    [thin] = list_thin_wheels(stores, "staging", "late-arrival")
    assert thin.environment == "staging"
    assert find_payload(stores, "staging", digest) > 0


def test_a_payload_that_is_no_blob_comes_out_of_the_wheel(
    stores: Stores, late_wheel: bytes, key: SigningKey, classifier: Any
) -> None:
    digest = register_model_version(stores, late_wheel, key=key, by="ada").payload_digest
    assert not stores.blobs.holds(digest)
    assert find_payload(stores, "dataops", digest) == len(classifier.payload)
    assert stores.blobs.get(digest) == classifier.payload
    assert list((stores.root / "incoming").iterdir()) == []


def test_versions_from_before_get_theirs_when_asked_for(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    register_model_version(stores, late_wheel, key=key, by="ada")
    [made] = list_thin_wheels(stores, "dataops", "late-arrival")
    with stores.db.transaction() as tx:
        tx.execute(delete(THIN_WHEELS))
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: list_thin_wheels(stores, "dataops", "late-arrival"), range(4))
        )
    assert found == [[made]] * 4


def test_the_platform_knows_the_loaders_variables() -> None:
    """Where both are set for one process, the platform does not take them for mistyped settings."""
    read = {*VARIABLES.values(), "SEAMLINE_ENDPOINT", "SEAMLINE_LOADER_CONFIG"}
    source = "".join(path.read_text() for path in find_loader_source().glob("*.py"))
    assert set(re.findall(r'"(SEAMLINE_[A-Z_]+)"', source)) - {"SEAMLINE_TOKEN"} == read == LOADERS
    assert settings_from(dict.fromkeys(LOADERS, "x")) == Settings()


def test_the_loader_is_built_once_and_served_everywhere(stores: Stores) -> None:
    version, wheel = build_loader_wheel(find_loader_source())
    assert (version, wheel) == build_loader_wheel(find_loader_source())
    info = check_wheel(wheel_name(LOADER, version), wheel)
    assert (info.name, info.requires_python) == (LOADER, ">=3.9")
    assert b"Requires-Dist" not in info.metadata
    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(lambda _: publish_loader(stores, "staging"), range(4)))
    assert {file.digest for file in published} == {published[0].digest}
    for environment in ("dataops", "staging"):
        [file] = list_package_files(stores, environment, LOADER)
        assert read_package_file(stores, file) == wheel
    assert list_package_files(stores, "production", LOADER) == []


def test_the_loaders_name_is_nobody_elses(
    stores: Stores,
    classifier: Any,
    spec_of: Callable[..., ModelWheelSpec],
    key: SigningKey,
) -> None:
    assert is_ours(stores, "Seamline_Loader")
    version, wheel = build_loader_wheel(find_loader_source())
    with pytest.raises(Refused, match="Seamline's own"):
        publish_package(stores, wheel_name(LOADER, version), wheel, by="eve")
    model = build_model_wheel(spec_of(classifier, LOADER))
    with pytest.raises(Refused, match="Seamline's own"):
        register_model_version(stores, model, key=key, by="eve")
