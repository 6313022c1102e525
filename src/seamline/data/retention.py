"""Which versions a dataset's own rule lets go of: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from seamline.domain.clock import from_iso
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput


@dataclass(frozen=True)
class RetentionDeclaration:
    """`[datasets.NAME.retention]`: versions that are neither young nor among the newest may lose
    the rows that only they have, unless something needs them. Without it every version is kept."""

    #: Versions that were committed within this time are kept, as "90d".
    keep_for: str | None = None
    #: So many of the newest are kept; at least 1.
    keep_versions: int | None = None

    def __post_init__(self) -> None:
        if self.keep_for is None and self.keep_versions is None:
            raise InvalidInput(
                "Retention has to say for how long, or how many versions, rows are kept.",
                next_step='Write keep_for = "90d" or keep_versions = 10.',
            )
        if self.keep_for is not None:
            parse_duration_s(self.keep_for)
        if self.keep_versions is not None and self.keep_versions < 1:
            raise InvalidInput(
                f"keep_versions has to be 1 or more, not {self.keep_versions}.",
                next_step="Write how many of the newest are kept; the newest one always is.",
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Kept:
    """Why a version's rows are kept; `reason` is empty when nothing needs them."""

    number: int
    reason: str

    @property
    def is_removable(self) -> bool:
        return not self.reason


def decide_kept(
    versions: Sequence[tuple[int, str]],
    rule: RetentionDeclaration | None,
    needed: Mapping[int, str],
    now: datetime,
) -> list[Kept]:
    """Of each (number, committed at), oldest first: `needed` says by whom, where somebody does.

    >>> rule = RetentionDeclaration(keep_versions=1)
    >>> said = decide_kept([(1, "2026-01-01T00:00:00Z"), (2, "2026-01-02T00:00:00Z"),
    ...                     (3, "2026-01-03T00:00:00Z")], rule, {1: "tag golden"},
    ...                    datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
    >>> [(one.number, one.reason) for one in said]
    [(1, 'tag golden'), (2, ''), (3, 'it is the newest')]
    """
    newest = max((number for number, _ in versions), default=0)
    n_last = 1 if rule is None or rule.keep_versions is None else rule.keep_versions
    last = {number for number, _ in sorted(versions)[-n_last:]}
    young_s = parse_duration_s(rule.keep_for) if rule and rule.keep_for else 0.0
    found = []
    for number, at in versions:
        age_s = (now - from_iso(at)).total_seconds()
        if number == newest:
            reason = "it is the newest"
        elif number in needed:
            reason = needed[number]
        elif rule is None:
            reason = "the dataset declares no retention"
        elif age_s < young_s:
            reason = f"it is younger than {rule.keep_for}"
        elif number in last:
            reason = f"it is one of the newest {rule.keep_versions}"
        else:
            reason = ""
        found.append(Kept(number, reason))
    return found
