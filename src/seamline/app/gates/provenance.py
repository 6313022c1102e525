"""Gate: each package has a statement signed by this workspace that names its digest and its run."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.errors import SeamlineError
from seamline.domain.states import Verdict
from seamline.promote.promotions import GateResult, Promotion
from seamline.promote.release import StoredRelease
from seamline.register.models.catalogue import verify_model_version


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    signed, bad = [], []
    for pin in release.release.packages:
        try:
            verify_model_version(platform.stores, pin.name, pin.version, platform.key.public)
            signed.append({"name": pin.name, "version": pin.version, "digest": pin.digest})
        except SeamlineError as error:
            bad.append(error.message)
    evidence = {"signed": signed, "problems": bad, "key_id": platform.key.public.key_id}
    if bad:
        return GateResult("provenance", Verdict.FAIL, " ".join(bad), evidence)
    sentence = (
        f"signed statements of the runs that made them: {len(signed)} of {len(signed)} packages"
    )
    return GateResult("provenance", Verdict.PASS, sentence, evidence)
