"""Another key signs from now on: statements, and what the data plane obeys."""

from __future__ import annotations

from pathlib import Path

from seamline.serve.snapshots.snapshot import snapshot_path
from seamline.store.stores import Stores
from seamline.trust import signing
from seamline.trust.key_history import KeyEntry


def rotate_key(stores: Stores, *, by: str) -> KeyEntry:
    """The new key's entry. The serving snapshots are signed anew, so that serving goes on."""
    return signing.rotate_key(stores, _snapshots(stores), by=by)


def finish_rotation(stores: Stores) -> None:
    """What a killed server left undone; to be called before anything is signed."""
    signing.finish_rotation(stores, _snapshots(stores))


def _snapshots(stores: Stores) -> list[Path]:
    return sorted(snapshot_path(stores.root, "any").parent.glob("[!.]*.json"))
