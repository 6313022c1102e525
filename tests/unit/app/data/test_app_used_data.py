from __future__ import annotations

from seamline.app.data.used_data import used_splits, used_versions
from seamline.register.models.documents import DatasetSplitRef, DatasetVersionRef
from seamline.train.artifacts import Artifact
from seamline.train.views.rounds import Round

VERSION = DatasetVersionRef("calls", 7, "sha256:version")


def read_of(split: str | None, task: str) -> dict[str, dict[str, Artifact]]:
    """As an importer's artifact is of a version, or of a split of it."""
    metadata = {"dataset": "calls", "version": 7}
    uri, digest = "datasets://calls@7", "sha256:version"
    if split is not None:
        metadata |= {"split": split, "version_digest": digest}
        uri, digest = f"{uri}/{split}", f"sha256:{split}"
    return {task: {task: Artifact("id", "rows", "t", digest, 0, True, False, uri, metadata)}}


def test_a_whole_version_has_no_split() -> None:
    read = read_of(None, "read")
    assert used_versions(read, Round("train", None, {})) == (VERSION,)
    assert used_splits(read, Round("train", None, {})) == ()


def test_splits_of_a_version_are_told_with_the_version_once() -> None:
    read = {**read_of("train", "read"), **read_of("test", "read-2")}
    assert used_versions(read, Round("train", None, {})) == (VERSION,)
    assert used_splits(read, Round("train", None, {})) == (
        DatasetSplitRef("calls", 7, "test", "sha256:test"),
        DatasetSplitRef("calls", 7, "train", "sha256:train"),
    )
