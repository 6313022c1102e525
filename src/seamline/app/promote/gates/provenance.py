"""Gate: each package and each pipeline has a statement, signed by this workspace, of its digest.

A package's statement says which run made it, a pipeline's who published it, under which tag. The
statement, the key's history and the digests are verified anew, and so is each model's payload
inside its wheel. It proves who said so and of which bytes; a thief of the present key could say so,
too.

Needs: packages that this platform made and pipelines that were published here.

Opens: publish the same bytes again, which states them, and make another release; see what is wrong
with `seamline verify`.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.app.register.verify_artifact import require_pipeline
from seamline.domain.errors import SeamlineError
from seamline.domain.states import Verdict
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.register.models.catalogue import verify_model_version
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    return look(platform, release)


def look(platform: Platform, release: StoredRelease) -> GateResult:
    """The same, of a release that nobody promotes."""
    stores, signed, bad = platform.stores, [], []
    for pin in release.release.packages:
        try:
            verify_model_version(stores, pin.name, pin.version, platform.key.public)
            signed.append({"name": pin.name, "version": pin.version, "digest": pin.digest})
        except SeamlineError as error:
            bad.append(error.message)
    made = len(signed)
    for pin in release.release.pipelines:
        try:
            require_pipeline(stores, DEFAULT_REPOSITORY, pin.name, pin.version, pin.digest)
            signed.append({"name": pin.name, "version": pin.version, "digest": pin.digest})
        except SeamlineError as error:
            bad.append(error.message)
    found = [Tick(f"{one['name']} {one['version']}", True) for one in signed]
    evidence = {
        "signed": signed,
        "problems": bad,
        "key_id": platform.key.public.key_id,
        PICTURE: ticks([*found, *(Tick("not stated", False, one) for one in bad)]),
    }
    if bad:
        return GateResult("provenance", Verdict.FAIL, " ".join(bad), evidence)
    published = len(signed) - made
    sentence = f"signed statements of the runs that made them: {made} of {made} packages"
    if published:
        sentence += f"; of who published them: {published} of {published} pipelines"
    return GateResult("provenance", Verdict.PASS, sentence, evidence)
