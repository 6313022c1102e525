"""Gates, one file each: evidence in, verdict out. None may be opened by anything but evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from seamline.app.gates import digests, evaluation, provenance, soak, successes
from seamline.app.platform import Platform
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease

Gate = Callable[[Platform, Promotion, StoredRelease], GateResult]

GATES: Mapping[str, Gate] = {
    "digests": digests.check,
    "provenance": provenance.check,
    "evaluation": evaluation.check,
    "successes": successes.check,
    "soak": soak.check,
}
