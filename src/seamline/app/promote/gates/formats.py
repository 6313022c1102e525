"""Gate: models whose loading runs code come in only where the policy lists their format.

No policy has to name this gate: it is decided for each release that holds such a model. It proves
that the platform has agreed to what a pickle, a joblib file or a PyTorch state with its source may
do in this environment; it does not prove that such a model is harmless, which nothing can.

Needs: a release with a model in one of those formats; of others it is not asked.

Opens: write models with skops or in their framework's own format, or let the platform admit the
format: `[environments.NAME] formats`.
"""

from __future__ import annotations

from contextlib import suppress

from seamline.app.platform import Platform
from seamline.domain.errors import NotFound
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.policy import FORMATS
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.register.formats.kinds import ARBITRARY_CODE, CODE_VERDICT
from seamline.register.models.catalogue import find_model_version


def is_needed(platform: Platform, release: StoredRelease) -> bool:
    return bool(_code_models(platform, release))


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    found = _code_models(platform, release)
    bad = {name: form for name, form in found.items() if form not in policy.formats}
    evidence = {
        "verdict": CODE_VERDICT,
        "formats": found,
        "admitted": list(policy.formats),
        PICTURE: ticks([Tick(f"{name}: {form}", name not in bad) for name, form in found.items()]),
    }
    named = ", ".join(f"{name} ({form})" for name, form in found.items())
    if not bad:
        sentence = f"{CODE_VERDICT}, which the policy admits: {named}"
        return GateResult(FORMATS, Verdict.PASS, sentence, evidence)
    wanted = ", ".join(f'"{form}"' for form in sorted(set(bad.values()) | set(policy.formats)))
    sentence = (
        f"{CODE_VERDICT}: {named}. {policy.name} admits none of it: write models with skops, or "
        f"let the platform admit it: [environments.{policy.name}] formats = [{wanted}], "
        "in the file that declares the environments"
    )
    return GateResult(FORMATS, Verdict.FAIL, sentence, evidence)


def _code_models(platform: Platform, release: StoredRelease) -> dict[str, str]:
    """Name and version → format, of those that run code when they are loaded."""
    found: dict[str, str] = {}
    for pin in release.release.packages:
        with suppress(NotFound):  # the gate `digests` tells of what is not there
            model = find_model_version(platform.stores, pin.name, pin.version)
            if model.document["format"] in ARBITRARY_CODE:
                found[f"{pin.name} {pin.version}"] = model.document["format"]
    return found
