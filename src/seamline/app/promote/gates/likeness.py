"""Gate: the data of the environment where a release was tried is like production's.

What is proved on data that is unlike production's says nothing about production. Each dataset that
the release was trained on is compared, as the environment has it, with production's table: columns
and types, share of production's rows, keys and categories, drift of each column against what
production's own days show among themselves, and how far the newest day lies behind. It fails with
the columns by name. For production itself, the environment before it is looked at. Columns that
the mirror masks are left out, as they are unlike on purpose; keys and times are only counted. Only
profiles are compared: joint patterns between columns can differ all the same.

Needs: tables of the environments (`seamline data mirror` makes them), ten days of production's
data, and 500 rows. Where both read the same table there is nothing to compare, and it says so.

Opens: mirror production's data anew, with a larger fraction or fewer masks; the limits are
`[environments.NAME.gate.likeness]`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seamline.app.data.mirror_dataset import dataset_of
from seamline.app.platform import Platform
from seamline.data.declaration import DatasetDeclaration
from seamline.data.mirror.production_like import Alike, Limits, compare_tables
from seamline.data.versions import (
    DatasetVersion,
    find_dataset,
    find_version,
    version_basis,
    version_row,
)
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import NotFound
from seamline.domain.states import Verdict
from seamline.promote.environments import find_environment
from seamline.promote.gate_pictures import PICTURE, Bar, bars
from seamline.promote.gate_results import GateResult
from seamline.promote.gate_rules import LikenessRule
from seamline.promote.promotion import Promotion
from seamline.promote.release import Pin, StoredRelease

LIKENESS = "likeness"
_DAY_S = 86_400.0
#: Columns in the picture: those that differ the most.
_SHOWN = 12


def check(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
    rule = policy.gate.likeness
    tried = promotion.environment
    if tried == rule.production:
        tried = policy.after or tried
    newest = {pin.name: pin for pin in sorted(release.release.datasets)}
    found, absent = [], []
    for pin in newest.values():
        one = _compare(platform, pin, tried, rule)
        if one is None:
            absent.append(pin.name)
        else:
            found.append(one)
    verdict, sentence = decide(found, absent, tried)
    evidence = {
        "environment": tried,
        "production": rule.production,
        "compared": [one.to_json() for one in found],
        "absent": absent,
        PICTURE: bars(_bars(found, rule), "PSI"),
    }
    return GateResult(LIKENESS, verdict, sentence, evidence)


def decide(
    found: Sequence[Alike], absent: Collection[str], environment: str
) -> tuple[Verdict, str]:
    """
    >>> decide([Alike("flights@9", "flights@9")], [], "staging")
    (<Verdict.PASS: 'pass'>, 'flights@9 is what production reads')
    >>> decide([], ["flights"], "staging")[1]
    'neither staging nor production has flights'
    """
    verdicts = {one.verdict for one in found}
    told = "; ".join(one.sentence() for one in found if one.verdict is Verdict.FAIL)
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL, told
    lacking = [f"neither {environment} nor production has {', '.join(absent)}"] if absent else []
    lacking += [one.sentence() for one in found if one.verdict is Verdict.INCONCLUSIVE]
    if lacking:
        return Verdict.INCONCLUSIVE, "; ".join(lacking)
    if not found:
        return Verdict.INCONCLUSIVE, "the release names no data that it was trained on"
    return Verdict.PASS, "; ".join(one.sentence() for one in found)


def _compare(platform: Platform, pin: Pin, environment: str, rule: LikenessRule) -> Alike | None:
    stores = platform.stores
    ours = _table(platform, pin.name, environment)
    theirs = _table(platform, pin.name, rule.production)
    if ours is None or theirs is None:
        return None
    try:
        trained = find_version(stores, f"{pin.name}@{pin.version}")
    except NotFound:  # on another server
        trained = theirs
    limits = Limits(
        rule.rows,
        rule.keys,
        rule.categories,
        rule.psi,
        parse_duration_s(rule.lag) / _DAY_S,
    )
    basis = version_basis(stores, trained)
    return compare_tables(stores, ours, theirs, basis, _declared(platform, pin.name), limits)


def _table(platform: Platform, name: str, environment: str) -> DatasetVersion | None:
    """The environment's own; where it has none, the one that all share."""
    with platform.stores.db.read() as connection:
        own = version_row(connection, dataset_of(name, environment))
        return own or version_row(connection, name)


def _declared(platform: Platform, name: str) -> DatasetDeclaration:
    declared = platform.declarations().datasets.get(name)
    if declared is not None:
        return declared
    with platform.stores.db.read() as connection:
        kept = find_dataset(connection, name)
    return DatasetDeclaration(name) if kept is None else kept.declaration


def _bars(found: Sequence[Alike], rule: LikenessRule) -> list[Bar]:
    several = sum(1 for table in found if table.drift is not None) > 1
    columns = [
        (one.drift.psi, f"{table.ours} " * several + one.drift.column, one.verdict)
        for table in found
        if table.drift is not None
        for one in table.drift.columns
        if one.drift.psi is not None
    ]
    worst = sorted(columns, reverse=True)[:_SHOWN]
    return [Bar(name, psi, rule.psi, "most", verdict) for psi, name, verdict in worst]
