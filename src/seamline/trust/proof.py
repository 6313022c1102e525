"""What can be proved of some bytes, step by step; for whoever holds them, not for who stores them.

A proof is what a server says: the statements, the history of its keys, and the lists that ended
keys have sealed. Nothing of it is believed: all is checked against the bytes' own digest and, where
a key is pinned, against that key. Only the facts are the server's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seamline.domain.digests import digest_of, short
from seamline.domain.errors import Refused, SeamlineError
from seamline.trust.image_statements import is_about_image, read_image_statements
from seamline.trust.key_history import KeyHistory, check_in_time, check_pin, read_history
from seamline.trust.statements import STATEMENT_TYPE, open_signed, subjects_of


class Outcome(StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    #: Nobody can tell, or it is the server's word only.
    NOTE = "note"


@dataclass(frozen=True)
class Step:
    check: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Proof:
    """As the server hands it out; envelopes as their texts."""

    statements: tuple[str, ...]
    keys: tuple[str, ...]
    #: digest → list, for the keys that have ended
    sealed: Mapping[str, str] = field(default_factory=dict)
    #: What was recorded of these bytes: sentences.
    facts: tuple[str, ...] = ()
    #: Image of a pipeline → the digest that the server starts it by; None while it has none.
    images: Mapping[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "statements": list(self.statements),
            "keys": list(self.keys),
            "sealed": dict(self.sealed),
            "facts": list(self.facts),
            "images": dict(self.images),
        }


@dataclass(frozen=True)
class Findings:
    """`statement`: the first that holds."""

    steps: tuple[Step, ...]
    statement: dict[str, Any] | None

    @property
    def holds(self) -> bool:
        return all(step.outcome is not Outcome.FAILS for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        steps = [{**step.__dict__} for step in self.steps]
        return {"holds": self.holds, "steps": steps, "statement": self.statement}


def proof_from_json(document: Mapping[str, Any]) -> Proof:
    """Refused when it is none."""
    try:
        return Proof(
            tuple(str(one) for one in document["statements"]),
            tuple(str(one) for one in document["keys"]),
            {str(name): str(text) for name, text in document["sealed"].items()},
            tuple(str(one) for one in document["facts"]),
            # An older server says nothing of them.
            {
                str(name): None if found is None else str(found)
                for name, found in document.get("images", {}).items()
            },
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"The server's answer is no proof: {error!r}.") from error


def examine(proof: Proof, digest: str, *, subject: str | None, pin: str | None) -> Findings:
    """All checks of bytes with this digest, in order.

    `subject`: what a statement has to be about, where it is known what was asked for; `pin`: id
    or text of the workspace's key that is trusted beforehand.
    """
    history, steps = _examine_keys(proof, pin)
    if history is None:
        return Findings(tuple(steps), None)
    stated = stated_images(proof, history, digest)
    statement, complaints = None, []
    for text in proof.statements:
        try:
            statement, found = _open(proof, history, text.encode(), digest, subject)
            steps += [*found, *_describe(statement, stated)]
            break
        except (SeamlineError, KeyError, ValueError, TypeError) as error:
            complaints.append(str(error) if isinstance(error, SeamlineError) else repr(error))
    if statement is None:
        why = " ".join(dict.fromkeys(complaints)) or "There is none."
        steps.append(Step("statement", Outcome.FAILS, f"No statement about it holds. {why}"))
    steps += _compare_images(proof.images, stated)
    steps += [Step("fact", Outcome.NOTE, f"{fact} (the server's word)") for fact in proof.facts]
    return Findings(tuple(steps), statement)


def stated_images(proof: Proof, history: KeyHistory, digest: str) -> dict[str, str]:
    """Of the pipeline with this digest: image → digest, where a statement that holds says so."""
    lists = {name: text.encode() for name, text in proof.sealed.items()}
    envelopes = (text.encode() for text in proof.statements)
    return read_image_statements(envelopes, history, lists, digest)


def find_stated_images(proof: Proof, digest: str, pin: str) -> dict[str, str]:
    """As `stated_images`, for whoever has not looked at the keys yet. Raises what is wrong with
    these."""
    if not proof.keys:
        return {}
    history = read_history([text.encode() for text in proof.keys])
    check_pin(history, pin)
    return stated_images(proof, history, digest)


def pipeline_subject(repository: str, package: str, tag: str | None = None) -> str:
    """How statements call a pipeline, and what it is under one of its tags.

    >>> pipeline_subject("default/main", "train_all", "1.0.0")
    'pipelines/default/main/train-all@1.0.0'
    """
    name = f"pipelines/{repository}/{package.lower().replace('_', '-')}"
    return f"{name}@{tag}" if tag else name


def require(findings: Findings, what: str) -> None:
    """Refused, with the first check that does not hold."""
    for step in findings.steps:
        if step.outcome is Outcome.FAILS:
            raise Refused(
                f"{what} is not what this workspace published: {step.sentence}",
                next_step="Do not use it. Ask who runs the workspace; "
                "seamline verify shows every check.",
            )


def _examine_keys(proof: Proof, pin: str | None) -> tuple[KeyHistory | None, list[Step]]:
    if not proof.keys:
        sentence = "The workspace has signed nothing yet."
        return None, [Step("keys", Outcome.FAILS, sentence)]
    try:
        history = read_history([text.encode() for text in proof.keys])
        if pin is not None:
            check_pin(history, pin)
    except SeamlineError as error:
        return None, [Step("keys", Outcome.FAILS, str(error))]
    if pin is None:
        return history, [
            Step(
                "keys",
                Outcome.NOTE,
                f"No key is pinned: {history.current.public.key_id} is the key that the server "
                "itself names. Pin it: seamline key pin.",
            )
        ]
    chained = len(history.entries)
    sentence = f"{chained} key{'s' if chained != 1 else ''}, each introduced by the one before, "
    return history, [Step("keys", Outcome.HOLDS, f"{sentence}and the pinned {pin} is among them.")]


def _open(
    proof: Proof, history: KeyHistory, envelope: bytes, digest: str, subject: str | None
) -> tuple[dict[str, Any], list[Step]]:
    opened = open_signed(envelope, STATEMENT_TYPE, history.keys)
    lists = {name: text.encode() for name, text in proof.sealed.items()}
    check_in_time(history, opened.key, digest_of(envelope), lists)
    statement: dict[str, Any] = json.loads(opened.payload)
    named = subjects_of(statement)
    if subject is None and is_about_image(statement):
        raise Refused("It says what an image stood for, not that these bytes were published.")
    about = [name for name, named_digest in named.items() if named_digest == digest]
    if not about:
        raise Refused(
            f"It is about {', '.join(sorted(set(named.values())))}; these bytes are {digest}."
        )
    if subject is not None and subject not in about:
        raise Refused(f"It is about {', '.join(about)}, not about {subject}.")
    end = history.end_of(opened.key)
    when = f", which ended at {end.begins_at}, after it had signed this" if end else ""
    steps = [
        Step("digest", Outcome.HOLDS, f"{digest} is the digest of {', '.join(about)}."),
        Step("signature", Outcome.HOLDS, f"Signed by key {opened.key.key_id}{when}."),
    ]
    return statement, steps


def _describe(statement: Mapping[str, Any], images: Mapping[str, str]) -> list[Step]:
    """What the statement says: true as far as its signer told the truth.

    `images`: what others state of the digests that its images stood for.
    """
    definition = statement["predicate"]["buildDefinition"]
    details = statement["predicate"]["runDetails"]
    metadata = details["metadata"]
    made = f"{definition['buildType']} by {metadata['invocationId']} at {metadata['finishedOn']}"
    return [
        Step("provenance", Outcome.HOLDS, made + "."),
        *(
            Step("material", Outcome.HOLDS, f"{one['uri']}{_spell(_digests(one, images))}")
            for one in definition["resolvedDependencies"]
        ),
    ]


def _digests(material: Mapping[str, Any], images: Mapping[str, str]) -> Mapping[str, str]:
    found = images.get(str(material["uri"]).removeprefix("oci://"))
    named: Mapping[str, str] = material.get("digest", {})
    return named or ({} if found is None else {"sha256": found.removeprefix("sha256:")})


def _compare_images(started: Mapping[str, str | None], stated: Mapping[str, str]) -> list[Step]:
    """What the server would start, against what is signed."""
    return [
        _compare_image(image, started.get(image), stated.get(image))
        for image in sorted({*started, *stated})
    ]


def _compare_image(image: str, started: str | None, stated: str | None) -> Step:
    if stated is None and started is None:
        return Step("image", Outcome.NOTE, f"{image} has no digest yet: nobody has found it.")
    if stated is None:
        sentence = (
            f"{image} is to start as {started}, and no statement says so. Look it up again: "
            "seamline pipeline images NAME@TAG --again."
        )
        return Step("image", Outcome.FAILS, sentence)
    if started not in (None, stated):
        sentence = f"{image} is stated to be {stated}; the server has {started}."
        return Step("image", Outcome.FAILS, sentence)
    return Step("image", Outcome.HOLDS, f"{image} stood for {stated}.")


def _spell(digests: Mapping[str, str]) -> str:
    return "".join(f" {name}:{short(value)}" for name, value in digests.items()) or " (no digest)"


def say(findings: Findings) -> str:
    """For people: one line a check.

    >>> print(say(Findings((Step("keys", Outcome.FAILS, "None."),), None)))
    ✗ keys        None.
    """
    marks = {Outcome.HOLDS: "✓", Outcome.FAILS: "✗", Outcome.NOTE: "·"}
    return "\n".join(
        f"{marks[step.outcome]} {step.check.ljust(11)} {step.sentence}" for step in findings.steps
    )
