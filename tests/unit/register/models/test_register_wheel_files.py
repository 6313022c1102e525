"""Models on their way into the index as files, however large they are."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound
from seamline.register.models import catalogue as models
from seamline.register.models.thin_wheels import list_thin_wheels
from seamline.register.models.wheel_files import packed_model
from seamline.register.models.wheels import ModelWheelSpec
from seamline.register.packages import index
from seamline.store.blobs import digest_of_file
from seamline.store.received import ReceivedFile
from seamline.store.stores import Stores, open_stores
from seamline.trust.keys import SigningKey

#: Packs, registers, verifies and reads a model; prints how much more memory that took than a small
#: one had taken before, in MB, and the digest of its wheel.
PROGRAM = """
import contextlib, hashlib, json, resource, sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.register.models import catalogue as models
from seamline.register.models.wheel_files import packed_model
from seamline.register.packages import index
from seamline.store.stores import open_stores
from seamline.trust.keys import load_or_create_key

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

root = Path(sys.argv[1])
stores, key = open_stores(root, SystemClock()), load_or_create_key(root / "keys")
peaks = []
for spec in sys.argv[2:]:
    read = json.loads(Path(spec).read_text())
    with packed_model(stores, read["document"], read["samples"]) as wheel:
        made = models.register_model_version(stores, wheel, key=key, by="ada")
    models.verify_model_version(stores, made.model, made.version, key.public)
    file = index.find_package_file(stores, "dataops", made.filename)
    hasher = hashlib.sha256()
    with contextlib.closing(index.open_package_file(stores, file)) as opened:
        for piece in opened.pieces(0, opened.size_bytes):
            hasher.update(piece)
    assert "sha256:" + hasher.hexdigest() == made.wheel_digest
    peaks.append(peak_mb())
print(peaks[1] - peaks[0], made.wheel_digest)
"""


@pytest.fixture
def spec(stores: Stores, classifier: Any, spec_of: Callable[..., ModelWheelSpec]) -> ModelWheelSpec:
    """Its payload is in the store, as a task's output is."""
    made = spec_of(classifier, "late-arrival")
    stores.blobs.put(classifier.payload)
    return made


def incoming(stores: Stores) -> list[Path]:
    return sorted((stores.root / "incoming").rglob("*"))


def test_a_file_is_the_wheel_that_the_bytes_were(
    stores: Stores, spec: ModelWheelSpec, late_wheel: bytes, key: SigningKey
) -> None:
    with packed_model(stores, spec.document, spec.samples) as wheel:
        assert wheel.path.read_bytes() == late_wheel
        assert wheel.digest == digest_of_file(wheel.path)
        assert wheel.size_bytes == len(late_wheel)
        found = models.register_model_version(stores, wheel, key=key, by="ada")
    assert incoming(stores) == []
    assert found.wheel_digest == wheel.digest
    assert models.verify_model_version(stores, "late-arrival", "1.0.0", key.public) == found
    [file] = index.list_package_files(stores, "dataops", "late-arrival")
    assert index.read_package_file(stores, file) == late_wheel
    assert len(list_thin_wheels(stores, "dataops", "late-arrival")) == 1
    with packed_model(stores, spec.document, spec.samples) as again:
        assert models.register_model_version(stores, again, key=key, by="bob") == found
    assert models.register_model_version(stores, late_wheel, key=key, by="bob") == found
    assert incoming(stores) == []


def test_what_is_refused_leaves_no_file(
    stores: Stores, spec: ModelWheelSpec, key: SigningKey
) -> None:
    with packed_model(stores, spec.document, spec.samples) as wheel:
        models.register_model_version(stores, wheel, key=key, by="ada")
    other = {**spec.document, "threshold": 0.25}
    with (
        pytest.raises(Conflict, match="registered with other bytes"),
        packed_model(stores, other, spec.samples) as wheel,
    ):
        models.register_model_version(stores, wheel, key=key, by="ada")
    with (
        pytest.raises(InvalidInput, match="no model wheel"),
        packed_model(stores, {**other, "version": "1.0.1"}, spec.samples) as wheel,
    ):
        with wheel.path.open("r+b") as file:
            file.truncate(wheel.size_bytes // 2)
        models.register_model_version(stores, wheel, key=key, by="ada")
    assert incoming(stores) == []
    assert [one.version for one in models.list_model_versions(stores)] == ["1.0.0"]


def test_payloads_that_are_not_there_or_altered(
    stores: Stores, spec: ModelWheelSpec, classifier: Any
) -> None:
    digest = spec.document["payload_digest"]
    stores.blobs.path_of(digest).write_bytes(classifier.payload[:-1] + b"x")
    with pytest.raises(DigestMismatch, match=r"payload of late-arrival 1\.0\.0") as refused:
        packed_model(stores, spec.document, spec.samples).__enter__()
    assert refused.value.details["expected"] == digest
    stores.blobs.path_of(digest).unlink()
    with pytest.raises(NotFound, match="payload of late-arrival"):
        packed_model(stores, spec.document, spec.samples).__enter__()
    assert incoming(stores) == []


def make_sparse_payload(path: Path, size: int) -> ReceivedFile:
    """Holes, and a mark in each of its parts: a piece in the wrong place is found."""
    with path.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 5_000_011):
            file.seek(at)
            file.write(hashlib.sha256(b"%d" % at).digest()[: size - at])
    return ReceivedFile(path, digest_of_file(path), size)


def test_a_model_larger_than_memory_should_be(
    tmp_path: Path, classifier: Any, spec_of: Callable[..., ModelWheelSpec], soak: bool
) -> None:
    """200 MB; in a soak 2 GiB and a bit, where four bytes no longer say how large it is."""
    small = spec_of(classifier, "late-arrival")
    root = tmp_path / "workspace"
    stores = open_stores(root, SystemClock())
    stores.blobs.put(classifier.payload)
    size = (2 << 30) + 12_345 if soak else (200 << 20) + 12_345
    large = make_sparse_payload(tmp_path / "payload", size)
    stores.blobs.adopt(large)
    stores.db.close()
    document = {**small.document, "version": "1.0.1", "payload_digest": large.digest}
    specs = []
    for number, described in enumerate((small.document, document)):
        specs.append(tmp_path / f"spec-{number}.json")
        specs[-1].write_text(json.dumps({"document": described, "samples": small.samples}))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, root, *specs], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    more_mb, digest = ran.stdout.split()
    assert int(more_mb) <= 32
    stores = open_stores(root, SystemClock())
    try:
        [file] = [
            one
            for one in index.list_package_files(stores, "dataops", "late-arrival")
            if one.version == "1.0.1"
        ]
        assert (file.digest, file.size_bytes > size) == (digest, True)
    finally:
        stores.db.close()
