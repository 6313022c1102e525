"""What of the datasets a model was made from: whole versions, and their splits."""

from __future__ import annotations

from collections.abc import Mapping

from seamline.register.models.documents import DatasetSplitRef, DatasetVersionRef
from seamline.train.artifacts import Artifact
from seamline.train.views.rounds import Round, is_of_other_round

#: Task → the same task in each round → what it imported.
Read = Mapping[str, Mapping[str, Artifact]]


def used_versions(read: Read, one: Round) -> tuple[DatasetVersionRef, ...]:
    """What the run read, but for what only other rounds of this one's loops did. Of a split, the
    version that it is of."""
    found = {
        DatasetVersionRef(
            artifact.metadata["dataset"],
            int(artifact.metadata["version"]),
            artifact.metadata.get("version_digest", artifact.digest),
        )
        for artifact in _read_for(read, one)
    }
    return tuple(sorted(found, key=lambda used: (used.name, used.version)))


def used_splits(read: Read, one: Round) -> tuple[DatasetSplitRef, ...]:
    found = {
        DatasetSplitRef(
            artifact.metadata["dataset"],
            int(artifact.metadata["version"]),
            artifact.metadata["split"],
            artifact.digest,
        )
        for artifact in _read_for(read, one)
        if "split" in artifact.metadata
    }
    return tuple(sorted(found, key=lambda used: (used.name, used.version, used.split)))


def _read_for(read: Read, one: Round) -> list[Artifact]:
    found: list[Artifact] = []
    for task, rounds in read.items():
        own = rounds.get(one.beside(task))
        shared = (made for path, made in rounds.items() if not is_of_other_round(path, one.task))
        found += shared if own is None else (own,)
    return found
