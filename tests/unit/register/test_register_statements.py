"""Whatever is published gets a signed statement, in one shape; altered bytes are used nowhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, DigestMismatch
from seamline.register.models import catalogue as models
from seamline.register.models.loading import open_model
from seamline.register.packages import index
from seamline.register.pipelines import catalogue, publishing
from seamline.register.statements import RUN, UPLOAD
from seamline.store.stores import Stores, open_stores
from seamline.trust.keys import SigningKey, load_or_create_key
from seamline.trust.signing import check_signed, find_statements, rotate_key
from seamline.trust.statements import subjects_of

COMMIT = "ab" * 20
PINNED = "example.org/score@sha256:" + "cd" * 32
FILE = "team_tools-1.0-py3-none-any.whl"
IR = f"""
schemaVersion: 2.1.0
pipelineInfo: {{name: train_all}}
root: {{dag: {{}}}}
deploymentSpec:
  executors:
    exec-score: {{container: {{image: '{PINNED}', command: [score]}}}}
    exec-train: {{container: {{image: 'example.org/train:1', command: [train]}}}}
    exec-late: {{container: {{image: '{{{{$.inputs.parameters[''image'']}}}}', command: [late]}}}}
""".encode()


def wheel() -> bytes:
    info = "team_tools-1.0.dist-info"
    files = {
        "team_tools.py": "x = 1\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: team-tools\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},sha256={spelt(text)},{len(text)}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,\n"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def spelt(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def stated(stores: Stores, digest: str) -> list[dict[str, Any]]:
    """What is signed of these bytes, by this workspace's key."""
    key = load_or_create_key(stores.root / "keys").public
    with stores.db.read() as connection:
        found = find_statements(connection, digest)
    envelopes = dict.fromkeys(one.statement for one in found)
    return [check_signed(stores, one, digest, "it", key) for one in envelopes]


def test_a_pipeline_is_stated_under_its_name_and_each_of_its_tags(
    stores: Stores, clock: ManualClock
) -> None:
    made = publishing.publish_pipeline(stores, IR, ["1.0.0", "dev"], by="ada", commit=COMMIT)
    [statement] = stated(stores, made.digest)
    name = "pipelines/default/main/train-all"
    assert set(subjects_of(statement)) == {name, f"{name}@1.0.0", f"{name}@dev"}
    definition = statement["predicate"]["buildDefinition"]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert definition["buildType"] == UPLOAD
    assert definition["externalParameters"] == {
        "publisher": "ada",
        "repository": "default/main",
        "package": "train-all",
        "tags": ["1.0.0", "dev"],
        "commit": COMMIT,
    }
    assert definition["resolvedDependencies"] == [
        {"uri": f"git+commit:{COMMIT}", "digest": {"gitCommit": COMMIT}},
        {"uri": "oci://example.org/score", "digest": {"sha256": "cd" * 32}},
        {"uri": "oci://example.org/train:1"},
    ]
    clock.advance(1)
    publishing.publish_pipeline(stores, IR, ["1.0.0"], by="ada")
    assert len(stated(stores, made.digest)) == 1
    publishing.tag_pipeline(stores, "train_all", made.digest, "1.0.1", by="ada")
    [_, tagged] = stated(stores, made.digest)
    assert f"{name}@1.0.1" in subjects_of(tagged)
    external = tagged["predicate"]["buildDefinition"]["externalParameters"]
    assert (external["tags"], external["commit"]) == (["1.0.1"], None)


def test_what_is_refused_is_not_stated(stores: Stores) -> None:
    publishing.publish_pipeline(stores, IR, ["1.0.0"], by="ada")
    other = IR + b"# other\n"
    with pytest.raises(Conflict):
        publishing.publish_pipeline(stores, other, ["1.0.0"], by="ada")
    assert stated(stores, digest_of(other)) == []


def test_an_uploaded_wheel_and_a_models_wheel_are_stated_in_one_shape(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    uploaded = index.publish_package(stores, FILE, wheel(), by="ada")
    model = models.register_model_version(stores, late_wheel, key=key, by="ada")
    [of_upload], [of_model] = (
        stated(stores, digest) for digest in (uploaded.digest, model.wheel_digest)
    )
    assert subjects_of(of_upload) == {FILE: uploaded.digest}
    assert model.payload_digest in subjects_of(of_model).values()
    assert stated(stores, model.payload_digest) == [of_model]
    shapes = []
    for statement, build, invocation in (
        (of_upload, UPLOAD, "ada"),
        (of_model, RUN, model.run_id),
    ):
        predicate = statement["predicate"]
        assert predicate["buildDefinition"]["buildType"] == build
        assert predicate["runDetails"]["metadata"]["invocationId"] == invocation
        shapes.append({name: sorted(part) for name, part in predicate.items()})
    assert shapes[0] == shapes[1]
    rotate_key(stores, [], by="ada")
    public = load_or_create_key(stores.root / "keys").public
    assert public != key.public
    models.verify_model_version(stores, "late-arrival", "1.0.0", public)
    materials = of_model["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {one["uri"].partition("://")[0] for one in materials} >= {"datasets", "pipelines"}


@dataclass(frozen=True)
class Shelf:
    """Published things, each with the way to its bytes and a way to use them."""

    stores: Stores
    key: SigningKey
    digests: dict[str, str]

    def use(self, kind: str) -> object:
        stores = self.stores
        if kind == "pipeline":
            return catalogue.read_pipeline(stores, "train-all", "1.0.0")
        if kind == "wheel":
            file = index.find_package_file(stores, "dataops", FILE)
            return index.read_package_file(stores, file)
        name, version = "late-arrival", "1.0.0"
        return models.verify_model_version(stores, name, version, self.key.public)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, late_wheel: bytes) -> Shelf:
    stores = open_stores(tmp_path_factory.mktemp("shelf"), ManualClock())
    key = load_or_create_key(stores.root / "keys")
    digests = {
        "pipeline": publishing.publish_pipeline(stores, IR, ["1.0.0"], by="ada").digest,
        "wheel": index.publish_package(stores, FILE, wheel(), by="ada").digest,
        "model": models.register_model_version(stores, late_wheel, key=key, by="ada").wheel_digest,
    }
    return Shelf(stores, key, digests)


@pytest.mark.parametrize("kind", ["pipeline", "wheel", "model"])
@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_refused_with_both_digests(
    shelf: Shelf, kind: str, where: float, bits: int
) -> None:
    path = shelf.stores.blobs.path_of(shelf.digests[kind])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[int(where * len(whole))] ^= bits
    path.write_bytes(flipped)
    try:
        with pytest.raises(DigestMismatch) as refused:
            shelf.use(kind)
    finally:
        path.write_bytes(whole)
    assert shelf.digests[kind] in refused.value.message
    assert digest_of(bytes(flipped)) in refused.value.message
    shelf.use(kind)


@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_byte_in_a_payload_is_refused_before_anything_is_loaded(
    late_wheel: bytes, where: float, bits: int
) -> None:
    document, payload = _model(late_wheel)
    flipped = bytearray(payload)
    flipped[int(where * len(payload))] ^= bits
    with pytest.raises(ValueError, match="altered") as refused:
        open_model(document, bytes(flipped))
    assert document["payload_digest"] in str(refused.value)
    assert digest_of(bytes(flipped)) in str(refused.value)


def _model(late_wheel: bytes) -> tuple[dict[str, Any], bytes]:
    with zipfile.ZipFile(io.BytesIO(late_wheel)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/model.json")]
        document = json.loads(archive.read(name))
        [inside] = [name for name in archive.namelist() if "/payload/" in name]
        return document, archive.read(inside)
