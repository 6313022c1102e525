"""Gate: nothing that the release brings is known to be bad, and all of it is signed.

Four things are looked at: each model's bytes are scanned again, and are what model.json and its
signed statement say; each image that a pipeline starts has a signed look-up, and the release names
that digest; each locked requirement (of the models' environments, and of components that pin
theirs) is held against the advisories that lie on this machine; and these are fresh. Whoever has no
advisories, or old ones, knows nothing: then the gate is inconclusive and never passes. It does not
show that there is no flaw, only that none which these advisories name is in a pinned version; what
a component does not pin is named as not looked at. Which formats of models may come in at all is
the gate `formats`, which no policy has to name.

Needs: advisories in OSV's format (a folder, or the zip file that OSV exports for PyPI), whose place
`[environments.NAME.gate.security] advisories` says; nothing is fetched.

Opens: train with a fixed version of what is named, bring the advisories up to date, or list an
advisory in `accepted` after somebody has looked at it (the policy shows it to whoever approves).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from seamline.app.platform import Platform
from seamline.app.promote.locked_requirements import Requirements, list_requirements
from seamline.app.register.resolve_images import runs_in_its_image
from seamline.app.register.verify_artifact import require_pipeline, stated_digests
from seamline.domain.clock import iso
from seamline.domain.durations import parse_duration_s, say_duration
from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Tick, ticks
from seamline.promote.gate_results import GateResult
from seamline.promote.gate_rules import SecurityRule
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease
from seamline.register.images.references import images_decided_at_start, images_of, parse_image
from seamline.register.models.catalogue import verify_model_version
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.register.pipelines.ir_file import load_ir
from seamline.trust.advisories import Advisories, Hit, find_hits, read_advisories

SECURITY = "security"
_NAMED = 3
#: A source that is said to be younger than now by more than this was made by a wrong clock.
_SKEW_S = 86_400.0


@dataclass(frozen=True)
class Findings:
    """`broken`: bytes, scans and signatures; `unknown`: why nobody can tell."""

    broken: tuple[str, ...] = ()
    hits: tuple[tuple[Hit, str], ...] = ()
    unknown: tuple[str, ...] = ()
    #: Hits that the policy accepts.
    accepted: tuple[Hit, ...] = ()
    locked: int = 0
    unlocked: tuple[str, ...] = ()


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        rule = find_environment(connection, promotion.environment).policy.gate.security
    broken = (*_models(platform, release), *_pipelines(platform, release))
    try:
        needs = list_requirements(platform.stores, release)
    except SeamlineError as error:
        broken, needs = (*broken, error.message), Requirements((), (), ())
    known, why = _read(rule, needs)
    found = look(needs, known, why or how_old(known, rule, platform.stores.clock.now()), rule)
    found = Findings(**{**found.__dict__, "broken": broken})
    verdict, sentence = decide(found)
    evidence = {
        "broken": list(broken),
        "hits": [{**asdict(hit), "needed_by": what} for hit, what in found.hits],
        "accepted": [asdict(hit) for hit in found.accepted],
        "unknown": list(found.unknown),
        "locked": [asdict(one) for one in needs.locked],
        "not_locked": list(needs.unlocked),
        "advisories": {
            "source": rule.advisories,
            "digest": known.digest if known else None,
            "count": known.n if known else 0,
            "newest": iso(known.newest) if known and known.newest else None,
            "oldest": rule.oldest,
        },
        PICTURE: ticks(_ticks(found)),
    }
    return GateResult(SECURITY, verdict, sentence, evidence)


def decide(found: Findings) -> tuple[Verdict, str]:
    """What is bad is told before what nobody knows.

    >>> print(decide(Findings(locked=12))[1])
    all is signed, and no advisory affects any of 12 locked requirements
    >>> decide(Findings(unknown=("the newest advisory is 9 d old, 7 d are allowed",)))[0]
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    if found.broken:
        return Verdict.FAIL, " ".join(found.broken)
    if found.hits:
        told = [f"{what} needs {hit.sentence()}" for hit, what in found.hits]
        more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        return Verdict.FAIL, "; ".join(told[:_NAMED]) + more
    if found.unknown:
        return Verdict.INCONCLUSIVE, "; ".join(found.unknown)
    sentence = f"all is signed, and no advisory affects any of {found.locked} locked requirements"
    if found.accepted:
        sentence += f", but for {', '.join(hit.advisory for hit in found.accepted)} (accepted)"
    if found.unlocked:
        sentence += f"; not locked and not looked at: {', '.join(found.unlocked[:_NAMED])}"
        sentence += f" and {len(found.unlocked) - _NAMED} more" * (len(found.unlocked) > _NAMED)
    return Verdict.PASS, sentence


def look(
    needs: Requirements, known: Advisories | None, why: str | None, rule: SecurityRule
) -> Findings:
    """`why`: what is the matter with the advisories, where something is. What they know is told
    all the same."""
    hits: list[tuple[Hit, str]] = []
    unknown = [why] if why else []
    unknown += [f"nothing says what the environment of {one} holds" for one in needs.missing]
    for one in needs.locked if known else ():
        try:
            found = find_hits(known, one.name, one.version) if known else []
        except InvalidInput as error:
            unknown.append(f"{one.name} {one.version} cannot be looked up: {error.message}")
            continue
        hits += [(hit, one.what) for hit in found]
    accepted = [hit for hit, _ in hits if _is_accepted(hit, rule)]
    return Findings(
        hits=tuple((hit, what) for hit, what in hits if not _is_accepted(hit, rule)),
        unknown=tuple(unknown),
        accepted=tuple(dict.fromkeys(accepted)),
        locked=len({(one.name, one.version) for one in needs.locked}),
        unlocked=needs.unlocked,
    )


def how_old(known: Advisories | None, rule: SecurityRule, now: datetime) -> str | None:
    """By what the advisories themselves say: a copied file is not a fresh one."""
    if known is None or known.newest is None:
        return f"{rule.advisories} holds no advisory about anything on PyPI"
    age = (now - known.newest).total_seconds()
    if age < -_SKEW_S:
        return f"the newest advisory is of {iso(known.newest)}, which is yet to come"
    if age > parse_duration_s(rule.oldest):
        allowed = say_duration(parse_duration_s(rule.oldest))
        return f"the newest advisory is {say_duration(age)} old, {allowed} are allowed"
    return None


def _read(rule: SecurityRule, needs: Requirements) -> tuple[Advisories | None, str | None]:
    if rule.advisories is None:
        return None, "the policy names no advisories, so nothing is known to be good"
    try:
        return read_advisories(Path(rule.advisories), {one.name for one in needs.locked}), None
    except InvalidInput as error:
        return None, str(error)


def _is_accepted(hit: Hit, rule: SecurityRule) -> bool:
    return not {hit.advisory, *hit.aliases}.isdisjoint(rule.accepted)


def _models(platform: Platform, release: StoredRelease) -> Iterator[str]:
    """Scanned anew, and held against model.json and the signed statement."""
    for pin in release.release.packages:
        try:
            found = verify_model_version(
                platform.stores, pin.name, pin.version, platform.key.public
            )
        except SeamlineError as error:
            yield error.message
            continue
        if found.wheel_digest != pin.digest:
            yield f"{pin.name} {pin.version} is not the wheel that the release names."


def _pipelines(platform: Platform, release: StoredRelease) -> Iterator[str]:
    held = {pin.digest for pin in release.release.images}
    for pin in release.release.pipelines:
        try:
            args = (DEFAULT_REPOSITORY, pin.name, pin.version, pin.digest)
            require_pipeline(platform.stores, *args)
            yield from _images(platform, pin, held)
        except SeamlineError as error:
            yield error.message


def _images(platform: Platform, pin: Pin, held: set[str]) -> Iterator[str]:
    """Those that its tasks start: each by a digest that was signed, and that the release names."""
    what = f"{pin.name}@{pin.version}"
    document = load_ir(platform.stores.blobs.get(pin.digest, f"pipeline {what}"))
    stated = stated_digests(platform.stores, pin.digest)
    for image in images_decided_at_start(document, runs_in_its_image):
        yield f"{what} starts {image}, which only its task's start decides."
    for image in images_of(document, runs_in_its_image):
        digest = parse_image(image).digest or stated.get(image)
        if digest is None:
            yield f"{what} starts {image}, and nothing signed says which image that is."
        elif str(digest) not in held:
            yield f"{what} starts {image} ({digest}), which the release does not name."


def _ticks(found: Findings) -> Sequence[Tick]:
    known = not found.unknown
    about = "; ".join(hit.sentence() for hit, _ in found.hits[:_NAMED])
    return [
        Tick("scanned and signed", not found.broken, " ".join(found.broken)),
        Tick("advisories at hand and fresh", known or None, "; ".join(found.unknown)),
        Tick(
            f"{found.locked} locked requirements",
            False if found.hits else (True if known else None),
            about,
        ),
    ]
