"""Snapshots: signed, whole, of the environment that the file is named after; or refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.serve.snapshots.snapshot import Column, ServingSnapshot, read_snapshot, snapshot_path
from seamline.store.canonical import canonical_json
from seamline.trust.statements import SNAPSHOT_TYPE, sign_envelope


@pytest.fixture
def path(workspace):
    return snapshot_path(workspace.root, "production")


def test_what_is_written_is_read(workspace, path):
    snapshot = workspace.deploy(3, workspace.endpoint(), environment="production")
    assert read_snapshot(path, workspace.key.public) == snapshot
    assert isinstance(snapshot, ServingSnapshot)


def test_altered_or_misplaced_files_are_refused(workspace, path):
    public = workspace.key.public
    with pytest.raises(NotFound):
        read_snapshot(path, public)
    workspace.deploy(3, workspace.endpoint())
    envelope = json.loads(path.read_text())
    envelope["payload"] = envelope["payload"][:-8] + "AAAA" + envelope["payload"][-4:]
    good = path.read_bytes()
    path.write_text(json.dumps(envelope))
    with pytest.raises(Refused, match="No trusted key signed"):
        read_snapshot(path, public)
    for broken in (b"", b"{}", b"[]", good[:-20]):
        path.write_bytes(broken)
        with pytest.raises(InvalidInput):
            read_snapshot(path, public)
    staging = path.with_name("staging.json")
    staging.write_bytes(good)
    with pytest.raises(Refused, match="holds the snapshot of environment 'production'"):
        read_snapshot(staging, public)


def test_another_schema_and_another_shape_are_refused(workspace, path):
    snapshot = workspace.deploy(3, workspace.endpoint())
    for document, error in (
        ({**dataclasses.asdict(snapshot), "schema": 2}, Refused),
        ({"environment": "production"}, InvalidInput),
        ({**dataclasses.asdict(snapshot), "version": "3"}, InvalidInput),
    ):
        payload = canonical_json(document)
        path.write_bytes(sign_envelope(SNAPSHOT_TYPE, payload, workspace.key))
        with pytest.raises(error):
            read_snapshot(path, workspace.key.public)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"endpoint": "a/b"}, "cannot be the name"),
        ({"package_digest": "sha256:12"}, "is not a digest"),
        ({"event_time": "hour"}, "must be an input or context column of datatype BYTES"),
        ({"private": ("tailnun",)}, "no private column tailnun.*Did you mean tailnum"),
        ({"unlogged": ("nobody",)}, "no unlogged column nobody"),
        ({"unlogged": ("tailnum",)}, "tailnum cannot be both private"),
        ({"unlogged": ("time_hour",)}, "event time 'time_hour' cannot be unlogged"),
        ({"context": (Column("hour", "BYTES"),)}, "each name once"),
        ({"context": (Column("time_hour", "TEXT"),)}, "has datatype 'TEXT'"),
    ],
)
def test_what_cannot_be_served_is_not_written(workspace, path, changes, says):
    with pytest.raises(InvalidInput, match=says):
        workspace.deploy(1, workspace.endpoint(**changes))
    with pytest.raises(InvalidInput, match="twice"):
        workspace.deploy(1, workspace.endpoint(), workspace.endpoint())
    assert not path.exists()
