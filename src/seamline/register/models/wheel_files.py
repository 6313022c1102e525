"""A model's wheel as a file, made from its payload in the store: never whole in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from seamline.domain.clock import new_id
from seamline.domain.digests import parse_digest
from seamline.register.models.documents import payload_files, payload_path
from seamline.register.models.wheels import ModelWheelSpec, write_model_wheel
from seamline.register.packages.wheel_pack import LargeFile
from seamline.store.blobs import digest_of_file
from seamline.store.received import ReceivedFile
from seamline.store.stores import Stores


@contextmanager
def packed_model(
    stores: Stores, document: Mapping[str, Any], samples: Mapping[str, Any]
) -> Iterator[ReceivedFile]:
    """The wheel of what `document` (model.json) describes, for as long as the block lasts.

    Its payload is the blob of that digest: NotFound or DigestMismatch when there is no such one.
    """
    what = f"payload of {document['name']} {document['version']}"
    # What lies here when a server is killed is swept when it starts again.
    incoming = stores.root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    path = incoming / f"wheel-{new_id(stores.clock)}"
    try:
        with ExitStack() as stack, path.open("xb") as file:
            payload = stack.enter_context(_large_file(stores, document["payload_digest"], what))
            code, twin = _code(stores, document), None
            if any(one != payload_path(document) for one in payload_files(document)):
                lying_beside = _large_file(stores, document["twin"]["digest"], f"twin of {what}")
                twin = stack.enter_context(lying_beside)
            write_model_wheel(ModelWheelSpec(document, samples, payload, code, twin), file)
            file.flush()
            os.fsync(file.fileno())
        yield ReceivedFile(path, digest_of_file(path), path.stat().st_size)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _large_file(stores: Stores, digest: str, what: str) -> Iterator[LargeFile]:
    with closing(stores.blobs.open_verified(digest, what)) as file:
        size_bytes = file.size_bytes
        yield LargeFile(parse_digest(digest), size_bytes, file.pieces(0, size_bytes))


def _code(stores: Stores, document: Mapping[str, Any]) -> dict[str, bytes]:
    """The run wrote it file by file: each is a blob."""
    named: Mapping[str, str] = document.get("code", {}).get("files", {})
    return {path: stores.blobs.get(digest, path) for path, digest in named.items()}
