from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.register.formats.scan import scan_model
from seamline.register.models import catalogue as models
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages import index
from seamline.register.rows import MODEL_VERSIONS
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.keys import SigningKey, load_or_create_key
from seamline.trust.statements import check_statement

WheelOf = Callable[..., bytes]


@pytest.fixture
def wheel_of(classifier: Any, spec_of: Callable[..., ModelWheelSpec]) -> WheelOf:
    def _wheel_of(version: str, name: str = "late-arrival", **changes: Any) -> bytes:
        spec = spec_of(classifier, name, version)
        lineage = {**spec.document["lineage"], **changes}
        document = {**spec.document, "lineage": lineage}
        return build_model_wheel(ModelWheelSpec(document, spec.samples, spec.payload))

    return _wheel_of


def test_registered_signed_and_in_the_index(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    found = models.register_model_version(stores, late_wheel, key=key, by="ada", caused_by="run-1")
    assert (found.model, found.version, found.module) == ("late-arrival", "1.0.0", "late_arrival")
    assert found.dataset_versions == ("flights@7",)
    assert models.verify_model_version(stores, "late-arrival", "1.0.0", key.public) == found
    [file] = index.list_package_files(stores, "dataops", "late-arrival")
    assert (file.digest, file.filename) == (found.wheel_digest, found.filename)
    with stores.db.read() as connection:
        facts = read_facts(connection)
    assert [(fact.kind, fact.by, fact.caused_by) for fact in facts] == [
        ("package.published", "ada", "run-1"),
        ("model.version_registered", "ada", "run-1"),
    ]
    envelope = stores.blobs.get(found.statement_digest)
    statement = check_statement(envelope, found.wheel_digest, "wheel", [key.public])
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["arguments"] == {"learning_rate": 0.1}
    assert [one["uri"] for one in definition["resolvedDependencies"]] == [
        "datasets://flights@7",
        "pipelines://train-late-arrival",
    ]
    assert models.find_by_wheel(stores, found.wheel_digest) == found
    assert models.find_version_of_run(stores, "late-arrival", found.run_id) == found
    assert models.find_version_of_run(stores, "late-arrival", "other") is None
    assert json.dumps(found.to_json())


def test_same_bytes_once_other_bytes_never(
    stores: Stores, late_wheel: bytes, key: SigningKey, wheel_of: WheelOf
) -> None:
    first = models.register_model_version(stores, late_wheel, key=key, by="ada")
    assert models.register_model_version(stores, late_wheel, key=key, by="bob") == first
    with pytest.raises(Conflict, match=r"late-arrival 1\.0\.0 is registered with other bytes"):
        models.register_model_version(stores, wheel_of("1.0.0", commit="d"), key=key, by="ada")
    with stores.db.read() as connection:
        assert len(read_facts(connection)) == 2


def test_versions_follow_the_rule(stores: Stores, key: SigningKey, wheel_of: WheelOf) -> None:
    assert models.next_version(stores, "late-arrival") == "1.0.0"
    assert models.newest_version(stores, "late-arrival") is None
    for version in ("1.0.9", "1.0.10", "2.0.0"):
        models.register_model_version(stores, wheel_of(version), key=key, by="ada")
    assert models.next_version(stores, "late-arrival") == "1.0.11"
    assert models.next_version(stores, "late-arrival", "2.{n}.0") == "2.1.0"
    versions = [one.version for one in models.list_model_versions(stores, "late-arrival")]
    assert versions == ["2.0.0", "1.0.10", "1.0.9"]
    assert models.find_model_version(stores, "late-arrival").version == "2.0.0"
    assert models.find_model_version(stores, "late-arrival", "1.0.9").version == "1.0.9"
    models.register_model_version(stores, wheel_of("1.0.0", "early-arrival"), key=key, by="ada")
    assert models.list_models(stores) == ["early-arrival", "late-arrival"]
    assert [one.model for one in models.list_model_versions(stores)][:2] == [
        "early-arrival",
        "late-arrival",
    ]
    with pytest.raises(NotFound, match="Did you mean late-arrival"):
        models.find_model_version(stores, "late-arival")
    with pytest.raises(NotFound, match=r"1\.0\.8"):
        models.find_model_version(stores, "late-arrival", "1.0.8")
    for rule in ("1.0", "{n}.{n}", "v-{n}"):
        with pytest.raises(InvalidInput):
            models.next_version(stores, "late-arrival", rule)


def test_altered_bytes_and_foreign_keys_are_found(
    stores: Stores, late_wheel: bytes, key: SigningKey
) -> None:
    found = models.register_model_version(stores, late_wheel, key=key, by="ada")
    other = load_or_create_key(stores.root / "other-keys")
    with pytest.raises(Refused, match="No trusted key"):
        models.verify_model_version(stores, "late-arrival", "1.0.0", other.public)
    document = json.dumps({**found.document, "threshold": 0.1})
    with stores.db.transaction() as tx:
        tx.execute(update(MODEL_VERSIONS).values(document=document))
    with pytest.raises(DigestMismatch, match=r"model\.json"):
        models.verify_model_version(stores, "late-arrival", "1.0.0", key.public)
    path = stores.blobs.path_of(found.wheel_digest)
    path.write_bytes(late_wheel.replace(b"__version__", b"__Version__"))
    with pytest.raises(DigestMismatch, match=found.wheel_digest):
        models.verify_model_version(stores, "late-arrival", "1.0.0", key.public)


def test_what_is_no_model_wheel(sqlite_stores: Stores, late_wheel: bytes, tmp_path: Any) -> None:
    key = load_or_create_key(tmp_path)
    for data in (b"", late_wheel[:400]):
        with pytest.raises(InvalidInput):
            models.register_model_version(sqlite_stores, data, key=key, by="ada")


def test_a_refused_model_is_told_once(stores: Stores) -> None:
    for _ in range(2):
        models.refuse_model(stores, "late-arrival", "run-1", "it is a pickle", caused_by="f-1")
    with stores.db.read() as connection:
        [fact] = read_facts(connection)
    assert (fact.kind, fact.by, fact.body["reason"]) == (
        "model.refused",
        "seamline",
        "it is a pickle",
    )


@pytest.fixture
def pickled(classifier: Any, spec_of: Callable[..., ModelWheelSpec]) -> Callable[..., bytes]:
    """A wheel whose payload is a pickle, described as it is or otherwise."""

    def _pickled(payload: bytes, **changes: Any) -> bytes:
        spec, scan = spec_of(classifier, "late-arrival"), scan_model(payload)
        document = {
            **spec.document,
            "format": str(scan.format),
            "loading": scan.to_json(),
            "trusted_types": [],
            "payload_digest": digest_of(payload),
            **changes,
        }
        return build_model_wheel(ModelWheelSpec(document, spec.samples, payload))

    return _pickled


def test_pickles_are_registered_where_they_are_admitted(
    stores: Stores, classifier: Any, key: SigningKey, pickled: Callable[..., bytes]
) -> None:
    wheel = pickled(pickle.dumps(classifier.estimator))
    with pytest.raises(Refused, match="policy of dataops admits no format that does"):
        models.register_model_version(stores, wheel, key=key, by="ada")
    with pytest.raises(Refused, match="admits joblib"):
        models.register_model_version(stores, wheel, key=key, by="ada", admitted=["joblib"])
    found = models.register_model_version(stores, wheel, key=key, by="ada", admitted=["pickle"])
    assert found.document["loading"]["verdict"] == "arbitrary code"


def test_a_wheel_is_scanned_whatever_it_says_of_itself(
    stores: Stores, classifier: Any, key: SigningKey, pickled: Callable[..., bytes]
) -> None:
    good = pickle.dumps(classifier.estimator)
    for wheel, why in (
        (pickled(b"cos\nsystem\n(S'true'\ntR."), r"os\.system at byte 0 \(dangerous\)"),
        (pickled(good, format="cloudpickle"), "does not describe its payload"),
        (pickled(good, loading={"verdict": "arbitrary code", "globals": []}), "does not describe"),
    ):
        with pytest.raises((Refused, InvalidInput), match=why):
            models.register_model_version(
                stores, wheel, key=key, by="ada", admitted=["pickle", "cloudpickle"]
            )
    for verdict in ("clean", "data"):
        with pytest.raises(InvalidInput, match=f"loading it is '{verdict}'"):
            pickled(good, loading={"verdict": verdict, "globals": []})
