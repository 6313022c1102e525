"""Which published pipeline a run ran: by itself, or in a loop over scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from seamline.domain.digests import digest_of
from seamline.domain.errors import NotFound, Refused
from seamline.register.pipelines.catalogue import find_pipeline, list_versions
from seamline.store.stores import Stores
from seamline.train.scenarios.origin import find_origin, read_loop


@dataclass(frozen=True)
class Published:
    digest: str
    #: What the paths of its tasks begin with in that run.
    prefix: str = ""


def find_published(stores: Stores, run: Mapping[str, Any]) -> Published:
    """Refused for a pipeline that merely bears the name.

    The loop over scenarios is the platform's own work, and nobody publishes it: it counts when a
    published pipeline, put into that loop again, gives the very bytes that ran.
    """
    name, digest = run["pipeline"], run["pipeline_digest"]
    with suppress(NotFound):
        return Published(find_pipeline(stores, name, digest).digest)
    ir = stores.blobs.get(digest, f"pipeline of run {run['id']}")
    loop = read_loop(ir)
    if loop is not None:
        origin = find_origin(ir, loop, _versions(stores, name))
        if origin is not None:
            return Published(digest_of(origin), loop.prefix)
    raise Refused(
        f"Run {run['id']} ran a pipeline that was not published as {name}.",
        next_step="Publish it with seamline pipeline push, and run it by its tag.",
    )


def _versions(stores: Stores, name: str) -> list[bytes]:
    with suppress(NotFound):
        found = list_versions(stores, name)
        return [stores.blobs.get(one.digest, f"pipeline {name}") for one in found]
    return []
