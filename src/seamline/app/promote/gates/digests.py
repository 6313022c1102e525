"""Gate: every byte that the release names is stored, and is the byte that was named.

Each wheel, pipeline, lock and signature is hashed anew, and each training version's digest is
compared with the one that is pinned. Images are stored in registries: there is a digest for each,
and whatever starts one has its engine fetch that digest and no other. The data that a release from
another server was trained on stays there: that server's own gate looked at it. It says nothing
about who made the bytes (that is `provenance`), nor whether they are good.

Needs: nothing but the release.

Opens: restore altered bytes from a backup, or publish again under a new version and make another
release.
"""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.data.versions import find_version
from seamline.domain.digests import parse_digest
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound, Refused
from seamline.domain.states import Verdict
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.promote.shipments import received_of


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    return look(platform, release)


def require_bytes(platform: Platform, release: StoredRelease) -> None:
    """Raises Refused where a byte is not what the release names: they may have changed since the
    gate was decided."""
    found = look(platform, release)
    if found.verdict is not Verdict.PASS:
        raise Refused(found.sentence)


def look(platform: Platform, release: StoredRelease) -> GateResult:
    """The same, of a release that nobody promotes."""
    checked, bad = [], []
    wrong: dict[str, list[str]] = {kind: [] for kind in release.release.pins()}
    with platform.stores.db.read() as connection:
        is_received = bool(received_of(connection, release.digest))
    for kind, pins in release.release.pins().items():
        for pin in pins:
            is_far = is_received and kind == "dataset"
            problem = None if is_far else _problem(platform, kind, pin)
            checked.append({"kind": kind, "name": pin.name, "digest": pin.digest})
            if problem:
                bad.append(problem)
                wrong[kind].append(problem)
    kinds = {
        kind: [pin for pin in checked if pin["kind"] == kind] for kind in release.release.pins()
    }
    picture = ticks(
        [
            Tick(
                f"{len(pins)} {kind}{'s' * (len(pins) != 1)}",
                not wrong[kind],
                " ".join(wrong[kind]),
            )
            for kind, pins in kinds.items()
            if pins
        ]
    )
    evidence = {"checked": checked, "problems": bad, PICTURE: picture}
    if bad:
        return GateResult("digests", Verdict.FAIL, " ".join(bad), evidence)
    images = len(release.release.images)
    far = len(release.release.datasets) if is_received else 0
    sentence = f"all {len(checked) - images - far} digests of the release were recomputed and agree"
    if images:
        sentence += f"; {images} {'image is' if images == 1 else 'images are'} named by digest"
    if far:
        sentence += f"; {far} training version{'s are' if far > 1 else ' is'} where it came from"
    return GateResult("digests", Verdict.PASS, sentence, evidence)


def _problem(platform: Platform, kind: str, pin: Pin) -> str | None:
    try:
        if kind == "dataset":
            found = find_version(platform.stores, f"{pin.name}@{pin.version}").digest
            if found != pin.digest:
                raise DigestMismatch(
                    f"dataset {pin.name}@{pin.version}", expected=pin.digest, actual=found
                )
        elif kind == "image":
            parse_digest(pin.digest)
        else:
            what = f"{kind} {pin.name} {pin.version}"
            platform.stores.blobs.verified_path(pin.digest, what)
    except (DigestMismatch, InvalidInput, NotFound) as error:
        return error.message
    return None
