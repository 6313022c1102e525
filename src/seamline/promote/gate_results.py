"""What gates decided, with their evidence, and the digest over all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from seamline.domain.clock import iso
from seamline.domain.promote_facts import GateDecided
from seamline.domain.states import Verdict
from seamline.promote.rows import GATE_RESULTS
from seamline.store.canonical import canonical_json, digest_of_json
from seamline.store.stores import Stores

#: Characters of a sentence; what is longer is nobody's sentence.
LONGEST = 2_000


def one_line(text: str) -> str:
    """What somebody else wrote, as it may be kept, and shown in a terminal: no control character,
    no half of a letter, and no more than 2,000 characters.

    >>> one_line("fine\\x1b[2J\\r\\nor  not")
    'fine [2J or not'
    """
    plain = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


@dataclass(frozen=True)
class GateResult:
    gate: str
    verdict: Verdict
    sentence: str
    evidence: dict[str, Any]

    @property
    def evidence_digest(self) -> str:
        return digest_of_json(self.evidence)

    def kept(self) -> GateResult:
        """As it can be recorded. Evidence that has no one JSON (not a number, an integer that
        other readers round, half of a letter) is an error: no digest could name it."""
        lines = (one_line(one) for one in self.sentence.splitlines())
        said = "\n".join(lines)[: 2 * LONGEST]
        try:
            canonical_json(self.evidence)
        except (ValueError, TypeError, RecursionError) as error:
            why = one_line(f"what it found cannot be kept as evidence: {error}; it said: {said}")
            return GateResult(self.gate, Verdict.ERROR, why, {"error": repr(type(error))})
        return GateResult(self.gate, self.verdict, said, self.evidence)

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "verdict": self.verdict.value, "digest": self.evidence_digest}


def record_gate(
    stores: Stores, promotion_id: str, result: GateResult, *, by: str, caused_by: str | None = None
) -> None:
    """Replaces an earlier result of the same gate; the facts keep both. `caused_by`: what began
    the round of checks (`rounds`)."""
    with stores.db.transaction() as tx:
        key = (GATE_RESULTS.c.promotion_id == promotion_id, GATE_RESULTS.c.gate == result.gate)
        values = {
            "verdict": result.verdict.value,
            "sentence": result.sentence,
            "evidence": canonical_json(result.evidence).decode(),
            "evidence_digest": result.evidence_digest,
            "at": iso(stores.clock.now()),
        }
        if tx.execute(update(GATE_RESULTS).where(*key).values(**values)).rowcount == 0:
            tx.execute(
                insert(GATE_RESULTS).values(promotion_id=promotion_id, gate=result.gate, **values)
            )
        fact = GateDecided(promotion_id, result.gate, result.verdict.value, result.evidence_digest)
        stores.facts.append(tx, fact, by=by, caused_by=caused_by)


def gate_results(connection: Connection, promotion_id: str) -> list[GateResult]:
    rows = connection.execute(
        select(GATE_RESULTS)
        .where(GATE_RESULTS.c.promotion_id == promotion_id)
        .order_by(GATE_RESULTS.c.gate)
    )
    return [
        GateResult(row.gate, Verdict(row.verdict), row.sentence, json.loads(row.evidence))
        for row in rows
    ]


def evidence_digest(results: list[GateResult]) -> str:
    return digest_of_json(
        {result.gate: [result.verdict.value, result.evidence_digest] for result in results}
    )
