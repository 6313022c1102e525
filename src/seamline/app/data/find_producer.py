"""Which task of a run made a dataset version, and which published component that was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from seamline.app.platform import Platform
from seamline.data.diff.findings import Producer
from seamline.domain.errors import NotFound, SeamlineError
from seamline.register.pipelines.catalogue import list_tags, list_versions
from seamline.register.pipelines.interfaces import read_components, read_shape
from seamline.register.pipelines.ir_file import load_ir
from seamline.register.pipelines.succession import parse_version
from seamline.store.stores import Stores
from seamline.train.record import load_artifacts
from seamline.train.runs import find_run_row, find_task_row

_NUMBER = re.compile(r"-\d+$")


def find_producer(platform: Platform, run_id: str, dataset: str) -> Producer | None:
    """None where the run, or the output that the dataset is made from, is not known any more."""
    output = _output_of(platform, dataset)
    if output is None:
        return None
    with suppress(SeamlineError), platform.stores.db.read() as connection:
        run = find_run_row(connection, run_id)
        made = json.loads(run.outputs)["artifacts"].get(output) if run.outputs else None
        artifacts = load_artifacts(connection, run_id)
        names = [task for (task, _), artifact in artifacts.items() if artifact.id == made]
        if not names:
            return None
        task = find_task_row(connection, run_id, names[0])
        name, version = published_component(platform.stores, run.pipeline_digest, task.component)
        return Producer(task.name, name, version, run.reference or run.pipeline)
    return None


def _output_of(platform: Platform, dataset: str) -> str | None:
    """Tables of other environments are called NAME-ENVIRONMENT."""
    declared = platform.declarations().datasets
    names = [name for name in declared if dataset == name or dataset.startswith(f"{name}-")]
    for name in sorted(names, key=len, reverse=True):
        source = declared[name].from_output
        if source is not None:
            return source.partition(".")[2]
    return None


def published_component(stores: Stores, pipeline: str, component: str) -> tuple[str, str | None]:
    """The component's name, and the tag under which the very same was published by that name."""
    named = component.removeprefix("comp-")
    document = load_ir(stores.blobs.get(pipeline, f"pipeline {pipeline}"))
    wanted = read_components(document).get(named)
    # The compiler numbers those that bear one name: prep, prep-2.
    for name in dict.fromkeys((named, _NUMBER.sub("", named))):
        version = None if wanted is None else _version_of(stores, name, wanted)
        if version is not None:
            return name, version
    return named, None


def _version_of(stores: Stores, name: str, wanted: str) -> str | None:
    """The newest x.y.z tag, else the newest tag, of what was published with these contents."""
    with suppress(NotFound):
        tags = list_tags(stores, name)
        for version in list_versions(stores, name):
            named = [one for one in tags if one.digest == version.digest]
            published = load_ir(stores.blobs.get(version.digest, f"pipeline {name}"))
            if named and wanted in _contents(published):
                numbered = [one for one in named if parse_version(one.tag)]
                return max(numbered or named, key=lambda one: one.updated_at).tag
    return None


def _contents(document: Mapping[str, Any]) -> Iterator[str]:
    yield read_shape(document).content_digest
    yield from read_components(document).values()
