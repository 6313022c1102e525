"""What is signed of a pipeline's images: for which digest each of them stood when it was looked up.

A statement of its own for each image, for one may be found at publishing and another by a run. Its
subject is the pipeline's digest, under a name that no published thing has, so that it never passes
for the statement that something was published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from seamline.domain.digests import digest_of
from seamline.domain.errors import SeamlineError
from seamline.trust.key_history import KeyHistory, check_in_time
from seamline.trust.statements import STATEMENT_TYPE, open_signed, subjects_of

LOOKED_UP = "urn:seamline:build:image-look-up:1"
#: A subject's column is shorter than references may be.
_MAX_SPELT = 280


def image_subject(reference: str) -> str:
    """
    >>> image_subject("registry.example/team/train:1")
    'images/registry.example/team/train:1'
    """
    spelt = reference if len(reference) <= _MAX_SPELT else str(digest_of(reference.encode()))
    return f"images/{spelt}"


def is_about_image(statement: Mapping[str, Any]) -> bool:
    return bool(statement["predicate"]["buildDefinition"]["buildType"] == LOOKED_UP)


def read_image_statements(
    envelopes: Iterable[bytes], history: KeyHistory, sealed: Mapping[str, bytes], pipeline: str
) -> dict[str, str]:
    """Reference → digest, of the statements about this pipeline that hold; the oldest counts."""
    found: dict[str, str] = {}
    for envelope in envelopes:
        try:
            opened = open_signed(envelope, STATEMENT_TYPE, history.keys)
            check_in_time(history, opened.key, digest_of(envelope), sealed)
            statement = json.loads(opened.payload)
            if not is_about_image(statement):
                continue
            definition = statement["predicate"]["buildDefinition"]
            reference = str(definition["externalParameters"]["image"])
            digest = f"sha256:{definition['resolvedDependencies'][0]['digest']['sha256']}"
            if subjects_of(statement) == {image_subject(reference): pipeline}:
                found.setdefault(reference, digest)
        except (SeamlineError, LookupError, ValueError, TypeError):
            continue  # nothing that this workspace has stated
    return found
