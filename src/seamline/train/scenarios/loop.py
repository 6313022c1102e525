"""Scenarios: one compiled pipeline, run once per object of a list, in one run.

`with_scenarios` writes what the KFP compiler writes for `dsl.ParallelFor` over a list of objects
around the whole pipeline, so the result is plain IR for any backend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import yaml

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.arguments import check_arguments
from seamline.train.ir.document import load_documents
from seamline.train.ir.reader import read_pipeline
from seamline.train.ir.types import ParameterSpec, ParameterType
from seamline.train.ir.values import as_text

MAX_SCENARIOS = 10_000
#: The task that loops: scenario 3 of the pipeline `fit` runs its tasks as `scenarios[3]/fit/…`.
LOOP = "scenarios"
_ITEM = "pipelinechannel--loop-item-param-1"
_LABEL_LENGTH = 120


def with_scenarios(ir: bytes, scenarios: Sequence[Mapping[str, Any]], *, source: str = "") -> bytes:
    """The pipeline in a loop: a scenario's fields are set in each round, the other parameters stay
    those of the whole run, and each output becomes a list.

    `source` says where the scenarios come from; it is kept in the pipeline's description.
    Raises InvalidInput or Refused for a pipeline that cannot run by itself, too.
    """
    items = check_scenarios(read_pipeline(ir).root.parameters, scenarios)
    spec, *platform = _documents(ir)
    written = {
        **spec,
        "pipelineInfo": _described(spec["pipelineInfo"], len(items), source),
        **_surround(spec, fields=tuple(items[0]), raw=json.dumps(items)),
    }
    text = yaml.dump_all([written, *platform], Dumper=_Dumper, width=1 << 20)
    return str(text).encode()


def check_scenarios(
    specs: Mapping[str, ParameterSpec], scenarios: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each with the same fields, cast to the declared types.

    A field that only some scenarios set takes the parameter's default in the others.

    >>> specs = {"a": ParameterSpec(ParameterType.NUMBER_DOUBLE, has_default=True, default=0.5)}
    >>> check_scenarios({**specs, "b": ParameterSpec(ParameterType.STRING)}, [{"b": "x", "a": 1}])
    [{'b': 'x', 'a': 1.0}]
    """
    if not 1 <= len(scenarios) <= MAX_SCENARIOS:
        raise InvalidInput(
            f"There are {len(scenarios)} scenarios.",
            next_step=f"Give at least one, and at most {MAX_SCENARIOS}.",
        )
    fields = _fields(specs, scenarios)
    items: list[dict[str, Any]] = []
    places: dict[str, int] = {}
    for place, scenario in enumerate(scenarios):
        item = _check_one(fields, place, scenario)
        earlier = places.setdefault(json.dumps(item, sort_keys=True), place)
        if earlier != place:
            raise InvalidInput(
                f"{LOOP}[{earlier}] and {LOOP}[{place}] are the same: {scenario_label(item)}.",
                next_step="Each scenario can be there once.",
            )
        items.append(item)
    return items


def scenario_label(scenario: Mapping[str, Any]) -> str:
    """How people tell one from another.

    >>> scenario_label({"origin": "JFK", "carrier": "AA", "days": 30.0})
    'origin=JFK,carrier=AA,days=30'
    """
    label = ",".join(f"{name}={as_text(value)}" for name, value in scenario.items())
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"


def _fields(
    specs: Mapping[str, ParameterSpec], scenarios: Iterable[Mapping[str, Any]]
) -> dict[str, ParameterSpec]:
    """The parameters that scenarios set, in the order in which they come."""
    found: dict[str, ParameterSpec] = {}
    for place, scenario in enumerate(scenarios):
        for name in scenario:
            if name not in specs:
                raise InvalidInput(
                    f"{LOOP}[{place}] sets {name!r}, which is no parameter of the pipeline.",
                    next_step=nearest(name, specs),
                    parameter=name,
                )
            if name not in found and not re.fullmatch(r'[^"\\\x00-\x1f]+', name):
                raise InvalidInput(
                    f"The parameter {name!r} cannot be set by scenarios: it holds a quote, "
                    "a backslash or a control character."
                )
            found.setdefault(name, specs[name])
    if not found:
        raise InvalidInput(
            "The scenarios set no parameter.",
            next_step=f"{nearest('', specs)} Set at least one of them.",
        )
    return found


def _check_one(
    fields: Mapping[str, ParameterSpec], place: int, scenario: Mapping[str, Any]
) -> dict[str, Any]:
    where = f"{LOOP}[{place}] ({scenario_label(scenario)})"
    empty = next((name for name, value in scenario.items() if value is None), None)
    try:
        checked = check_arguments(fields, scenario)
    except InvalidInput as error:
        raise InvalidInput(
            f"{where}: {error.message}", next_step=error.next_step, **error.details
        ) from error
    missing = next((name for name in fields if name not in checked), empty)
    if missing is not None:
        raise InvalidInput(
            f"{where} has no value for {missing!r}.",
            next_step="Give it one, or leave the field out of every scenario.",
            parameter=missing,
        )
    return checked


def _documents(ir: bytes) -> list[dict[str, Any]]:
    """The pipeline, and the platform specification where there is one; not shared with anybody."""
    documents = load_documents(ir)
    if "pipeline_spec" in documents[0]:  # as the KFP client sends both
        wrapped = documents[0]
        documents = [wrapped["pipeline_spec"], wrapped.get("platform_spec") or {}]
    return [document for document in documents if document]


def _described(info: Mapping[str, Any], scenarios: int, source: str) -> dict[str, Any]:
    said = [info.get("description"), f"{scenarios} scenarios from {source}." if source else ""]
    return _present(**{**info, "description": "\n".join(part for part in said if part)})


def _surround(spec: Mapping[str, Any], fields: Sequence[str], raw: str) -> dict[str, Any]:
    """A new root with one task, the loop; its body has one task, which is the old root."""
    inner, taken = spec["root"], spec.get("components") or {}
    name = spec["pipelineInfo"]["name"]
    task = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:100] or "pipeline"
    # The SDK takes a component that is called like the pipeline for the whole of it.
    component = _unused(f"comp-{task}", {*taken, f"comp-{name}"})
    loop = _unused(f"comp-{LOOP}", {*taken, component})
    inputs = inner.get("inputDefinitions") or {}
    parameters, artifacts = inputs.get("parameters") or {}, inputs.get("artifacts") or {}
    kept = {key: given for key, given in parameters.items() if key not in fields}
    body = {
        "dag": {
            "tasks": {task: _call(component, task, kept, artifacts, fields)},
            **_dag_outputs(inner, task, lambda key: (_output(task, key), key)),
        },
        "inputDefinitions": _present(
            parameters={
                **{_channel(key): _passed_on(given) for key, given in kept.items()},
                _ITEM: {"parameterType": ParameterType.STRUCT.value},
            },
            artifacts={_channel(key): given for key, given in artifacts.items()},
        ),
        "outputDefinitions": _listed(inner, lambda key: _output(task, key)),
    }
    root = {
        "dag": {
            "tasks": {LOOP: _iterate(loop, kept, artifacts, raw)},
            **_dag_outputs(inner, LOOP, lambda key: (key, _output(task, key))),
        },
        "inputDefinitions": _present(parameters=kept, artifacts=artifacts),
        "outputDefinitions": _listed(inner, lambda key: key),
    }
    components = {**taken, component: inner, loop: _present(**body)}
    return {"components": components, "root": _present(**root)}


def _call(
    component: str,
    task: str,
    parameters: Iterable[str],
    artifacts: Iterable[str],
    fields: Iterable[str],
) -> dict[str, Any]:
    """The old root as a task: fields come from the round's item, all else from outside."""
    item = {
        name: {
            "componentInputParameter": _ITEM,
            "parameterExpressionSelector": f'parseJson(string_value)["{name}"]',
        }
        for name in fields
    }
    outside = {name: {"componentInputParameter": _channel(name)} for name in parameters}
    handed = {name: {"componentInputArtifact": _channel(name)} for name in artifacts}
    return {
        "cachingOptions": {"enableCache": True},
        "componentRef": {"name": component},
        "inputs": _present(parameters={**outside, **item}, artifacts=handed),
        "taskInfo": {"name": task},
    }


def _iterate(
    loop: str, parameters: Iterable[str], artifacts: Iterable[str], raw: str
) -> dict[str, Any]:
    handed = {_channel(name): {"componentInputParameter": name} for name in parameters}
    artifacts = {_channel(name): {"componentInputArtifact": name} for name in artifacts}
    return _present(
        componentRef={"name": loop},
        inputs=_present(parameters=handed, artifacts=artifacts),
        parameterIterator={"itemInput": _ITEM, "items": {"raw": raw}},
        taskInfo={"name": LOOP},
    )


def _dag_outputs(
    inner: Mapping[str, Any], producer: str, names: Callable[[str], tuple[str, str]]
) -> dict[str, Any]:
    """A DAG's outputs; `names`: what an output of the old root is called outside, and inside."""
    declared = inner.get("outputDefinitions") or {}
    parameters = {
        outside: {"valueFromParameter": {"outputParameterKey": inside, "producerSubtask": producer}}
        for outside, inside in map(names, declared.get("parameters") or {})
    }
    artifacts = {
        outside: {"artifactSelectors": [{"outputArtifactKey": inside, "producerSubtask": producer}]}
        for outside, inside in map(names, declared.get("artifacts") or {})
    }
    return _present(outputs=_present(parameters=parameters, artifacts=artifacts))


def _listed(inner: Mapping[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    """What the old root puts out, as lists with one entry per scenario."""
    declared = inner.get("outputDefinitions") or {}
    parameters, artifacts = declared.get("parameters") or {}, declared.get("artifacts") or {}
    listed = {"parameterType": ParameterType.LIST.value}
    return _present(
        parameters={name(key): {**spec, **listed} for key, spec in parameters.items()},
        artifacts={name(key): {**spec, "isArtifactList": True} for key, spec in artifacts.items()},
    )


def _passed_on(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter of the root as an input of the loop's body: its default is filled in already."""
    may_lack = spec.get("isOptional") and spec.get("defaultValue") is None
    return _present(parameterType=spec["parameterType"], isOptional=may_lack)


def _channel(name: str) -> str:
    return f"pipelinechannel--{name}"


def _output(task: str, key: str) -> str:
    return _channel(f"{task}-{key}")


def _unused(name: str, taken: Container[str]) -> str:
    return next(one for one in _numbered(name) if one not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}-{number}"


def _present(**values: Any) -> dict[str, Any]:
    """Without what is empty: the compiler leaves that out."""
    return {name: value for name, value in values.items() if value}


class _Dumper(yaml.CSafeDumper):
    """Writes out what stands in two places, instead of a reference to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
