from __future__ import annotations

import threading
from typing import Any

import pytest

from seamline.domain.digests import digest_of
from seamline.serve.snapshots import deployments
from seamline.serve.snapshots.deployments import publish_snapshot
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.store.stores import Stores
from seamline.trust.keys import KEYS, load_public_key
from seamline.trust.signing import rotate_key


def test_a_key_that_rotates_meanwhile_leaves_no_snapshot_out(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data plane would refuse it, whoever of the two came first."""
    release, path = digest_of(b"release"), snapshot_path(stores.root, "production")
    rotation = threading.Thread(target=rotate_key, args=(stores, [path]), kwargs={"by": "ada"})
    publish_snapshot(stores, "production", digest_of(b"before"), "r0", ())
    write = deployments.write_snapshot

    def beside(*given: Any) -> None:
        rotation.start()
        rotation.join(0.3)
        write(*given)

    monkeypatch.setattr(deployments, "write_snapshot", beside)
    publish_snapshot(stores, "production", release, "r1", ())
    rotation.join(10)
    obeyed = load_public_key(stores.root / KEYS / "signing.pub")
    assert read_snapshot(path, obeyed).release == release
