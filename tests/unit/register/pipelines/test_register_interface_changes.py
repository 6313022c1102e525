"""Every pair of interfaces that the contract between teams speaks of, with its verdict."""

from __future__ import annotations

from typing import Any

import pytest

from seamline.register.pipelines.interface_changes import Change, breaks_of, decide_changes
from seamline.register.pipelines.interfaces import Interface, Port, read_interface

TEXT = {"parameterType": "STRING"}
NUMBER = {"parameterType": "NUMBER_INTEGER"}
MODEL = {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}


def artifact(title: str = "system.Model", version: str = "0.0.1", **more: Any) -> dict[str, Any]:
    return {"artifactType": {"schemaTitle": title, "schemaVersion": version}, **more}


def interface(**sides: dict[str, Any]) -> Interface:
    """`p` and `a`: input parameters and artifacts; `op` and `oa`: those of outputs."""
    root = {
        "inputDefinitions": {
            "parameters": sides.get("p", {}),
            "artifacts": sides.get("a", {}),
        },
        "outputDefinitions": {
            "parameters": sides.get("op", {}),
            "artifacts": sides.get("oa", {}),
        },
    }
    return read_interface({"root": root})


def parameter(**spec: Any) -> dict[str, Any]:
    return {"p": {"x": TEXT | spec}}


def told(changes: tuple[Change, ...]) -> list[tuple[str, str, str, str]]:
    return [(one.effect.value, one.side.value, one.name, one.what.value) for one in changes]


DEFAULT = {"defaultValue": "a", "isOptional": True}

#: before, after, and what is told of it; None: nothing.
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str, str, str] | None]] = {
    "nothing": (parameter(), parameter(), None),
    "input added, without default": (
        {},
        parameter(),
        ("breaking", "input", "x", "added"),
    ),
    "input added, with default": (
        {},
        parameter(defaultValue="a"),
        ("compatible", "input", "x", "added"),
    ),
    "input added, optional": (
        {},
        parameter(isOptional=True),
        ("compatible", "input", "x", "added"),
    ),
    "input removed": (parameter(), {}, ("breaking", "input", "x", "removed")),
    "input with default removed": (
        parameter(**DEFAULT),
        {},
        ("breaking", "input", "x", "removed"),
    ),
    "input renamed": (
        {"p": {"x": TEXT}},
        {"p": {"y": TEXT}},
        ("breaking", "input", "x", "renamed"),
    ),
    "type of an input": (
        parameter(),
        {"p": {"x": NUMBER}},
        ("breaking", "input", "x", "type changed"),
    ),
    "input became an artifact": (
        parameter(),
        {"a": {"x": MODEL}},
        ("breaking", "input", "x", "type changed"),
    ),
    "default removed, now required": (
        parameter(**DEFAULT),
        parameter(),
        ("breaking", "input", "x", "now required"),
    ),
    "default removed, still optional": (
        parameter(**DEFAULT),
        parameter(isOptional=True),
        ("breaking", "input", "x", "default changed"),
    ),
    "default added": (
        parameter(),
        parameter(**DEFAULT),
        ("compatible", "input", "x", "now optional"),
    ),
    "default of what was optional": (
        parameter(isOptional=True),
        parameter(**DEFAULT),
        ("compatible", "input", "x", "default changed"),
    ),
    "default changed": (
        parameter(**DEFAULT),
        parameter(**DEFAULT | {"defaultValue": "b"}),
        ("compatible", "input", "x", "default changed"),
    ),
    "default 1 became true": (
        parameter(defaultValue=1),
        parameter(defaultValue=True),
        ("compatible", "input", "x", "default changed"),
    ),
    "default 3 spelt 3.0": (parameter(defaultValue=3), parameter(defaultValue=3.0), None),
    "description of an input": (
        parameter(),
        parameter(description="of the flight"),
        ("compatible", "input", "x", "description changed"),
    ),
    "fewer literals": (
        parameter(literals=["a", "b"]),
        parameter(literals=["a"]),
        ("breaking", "input", "x", "allowed values changed"),
    ),
    "literals where there were none": (
        parameter(),
        parameter(literals=["a"]),
        ("breaking", "input", "x", "allowed values changed"),
    ),
    "more literals": (
        parameter(literals=["a"]),
        parameter(literals=["b", "a"]),
        ("compatible", "input", "x", "allowed values changed"),
    ),
    "no literals any more": (
        parameter(literals=["a"]),
        parameter(),
        ("compatible", "input", "x", "allowed values changed"),
    ),
    "artifact added": ({}, {"a": {"m": MODEL}}, ("breaking", "input", "m", "added")),
    "optional artifact added": (
        {},
        {"a": {"m": artifact(isOptional=True)}},
        ("compatible", "input", "m", "added"),
    ),
    "artifact now required": (
        {"a": {"m": artifact(isOptional=True)}},
        {"a": {"m": MODEL}},
        ("breaking", "input", "m", "now required"),
    ),
    "artifact type": (
        {"a": {"m": MODEL}},
        {"a": {"m": artifact("system.Dataset")}},
        ("breaking", "input", "m", "type changed"),
    ),
    "artifact type, to the general one": (
        {"a": {"m": MODEL}},
        {"a": {"m": artifact("system.Artifact")}},
        ("breaking", "input", "m", "type changed"),
    ),
    "schema version, major": (
        {"a": {"m": MODEL}},
        {"a": {"m": artifact(version="1.0.0")}},
        ("breaking", "input", "m", "type changed"),
    ),
    "schema version, minor": (
        {"a": {"m": MODEL}},
        {"a": {"m": artifact(version="0.1.0")}},
        ("compatible", "input", "m", "type changed"),
    ),
    "one artifact became a list": (
        {"a": {"m": MODEL}},
        {"a": {"m": artifact(isArtifactList=True)}},
        ("breaking", "input", "m", "type changed"),
    ),
    "output added": ({}, {"op": {"o": TEXT}}, ("compatible", "output", "o", "added")),
    "output artifact added": ({}, {"oa": {"o": MODEL}}, ("compatible", "output", "o", "added")),
    "output removed": ({"op": {"o": TEXT}}, {}, ("breaking", "output", "o", "removed")),
    "output renamed": (
        {"oa": {"o": MODEL}},
        {"oa": {"model": MODEL}},
        ("breaking", "output", "o", "renamed"),
    ),
    "type of an output": (
        {"op": {"o": TEXT}},
        {"op": {"o": NUMBER}},
        ("breaking", "output", "o", "type changed"),
    ),
    "artifact type of an output": (
        {"oa": {"o": MODEL}},
        {"oa": {"o": artifact("system.Metrics")}},
        ("breaking", "output", "o", "type changed"),
    ),
    "list of an output": (
        {"oa": {"o": artifact(isArtifactList=True)}},
        {"oa": {"o": MODEL}},
        ("breaking", "output", "o", "type changed"),
    ),
    "description of an output": (
        {"op": {"o": TEXT}},
        {"op": {"o": TEXT | {"description": "late"}}},
        ("compatible", "output", "o", "description changed"),
    ),
    "fewer literals of an output": (
        {"op": {"o": TEXT | {"literals": ["a", "b"]}}},
        {"op": {"o": TEXT | {"literals": ["a"]}}},
        ("compatible", "output", "o", "allowed values changed"),
    ),
    "more literals of an output": (
        {"op": {"o": TEXT | {"literals": ["a"]}}},
        {"op": {"o": TEXT | {"literals": ["a", "b"]}}},
        ("breaking", "output", "o", "allowed values changed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "wanted"), PAIRS.values(), ids=PAIRS)
def test_each_pair(
    before: dict[str, Any], after: dict[str, Any], wanted: tuple[str, ...] | None
) -> None:
    old, new = interface(**before), interface(**after)
    changes = decide_changes(old, new)
    assert told(changes) == ([] if wanted is None else [wanted])
    assert all(one.reason for one in changes)
    if wanted is None or "description" in wanted[-1]:
        assert old.digest == new.digest
    else:
        assert old.digest != new.digest


def test_several_changes_and_the_breaking_ones_first() -> None:
    before = interface(p={"day": TEXT, "hour": NUMBER}, op={"late": TEXT, "why": TEXT})
    after = interface(p={"day": TEXT, "to": TEXT | DEFAULT}, op={"delay": NUMBER})
    changes = decide_changes(before, after)
    assert told(changes) == [
        ("breaking", "input", "hour", "removed"),
        ("breaking", "output", "late", "removed"),
        ("breaking", "output", "why", "removed"),
        ("compatible", "input", "to", "added"),
        ("compatible", "output", "delay", "added"),
    ]
    assert len(breaks_of(changes)) == 3


def test_a_new_name_of_another_type_is_no_rename() -> None:
    changes = decide_changes(Interface({"day": Port("STRING")}), Interface({"at": Port("STRUCT")}))
    assert [one.what.value for one in changes] == ["removed", "added"]
