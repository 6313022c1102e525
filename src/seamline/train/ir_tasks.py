"""The tasks of one DAG, and what flows between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.document import Node
from seamline.train.ir import (
    Constant,
    DagTask,
    FromInput,
    FromTask,
    InputSource,
    RetryPolicy,
)
from seamline.train.placeholders import check_placeholders

#: Task and output names become parts of file paths.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_TOLERANT = "ALL_UPSTREAM_TASKS_COMPLETED"
_STRATEGIES = ("TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", _TOLERANT)


def check_name(name: str, node: Node) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{node.path}: {name!r} cannot be a name.",
            next_step="Names have up to 128 letters, digits, dots, dashes and underscores.",
        )
    return name


def read_tasks(node: Node) -> dict[str, DagTask]:
    tasks = {check_name(name, at): _read_task(name, at) for name, at in node.items()}
    for task in tasks.values():
        for upstream in task.after:
            if upstream not in tasks:
                raise InvalidInput(
                    f"{node.path}.{task.name} depends on {upstream!r}, which is not in this DAG.",
                    next_step=nearest(upstream, tasks),
                )
    return tasks


def _read_task(name: str, node: Node) -> DagTask:
    for key in ("parameterIterator", "artifactIterator", "iteratorPolicy"):
        if key in node:
            raise node.at(key).unsupported("a loop (dsl.ParallelFor)", name)
    inputs = node.at("inputs")
    parameters = {
        key: _read_parameter_source(at, name) for key, at in inputs.at("parameters").items()
    }
    artifacts = {key: _read_artifact_source(at, name) for key, at in inputs.at("artifacts").items()}
    for key, source in parameters.items():
        if isinstance(source, Constant):
            check_placeholders(source.value, parameters, name, inputs.at("parameters").at(key))
    sources = (*parameters.values(), *artifacts.values())
    read_from = [source.task for source in sources if isinstance(source, FromTask)]
    named = [at.text() for at in node.at("dependentTasks").list()]
    return DagTask(
        name=name,
        component=node.at("componentRef").at("name").text(),
        parameters=parameters,
        artifacts=artifacts,
        after=tuple(dict.fromkeys((*named, *read_from))),
        ignores_upstream_failure=_read_strategy(node.at("triggerPolicy"), name),
        retry=_read_retry(node.at("retryPolicy")) if "retryPolicy" in node else None,
        enable_cache=node.at("cachingOptions").at("enableCache").flag(),
        cache_key=str(node.at("cachingOptions").object().get("cacheKey") or ""),
    )


def _read_strategy(node: Node, task: str) -> bool:
    if "condition" in node:
        raise node.at("condition").unsupported("a condition (dsl.If, dsl.Elif, dsl.Else)", task)
    strategy = node.object().get("strategy", _STRATEGIES[0])
    if strategy not in _STRATEGIES:
        raise InvalidInput(
            f"{node.path}.strategy is {strategy!r}.",
            next_step=nearest(str(strategy), _STRATEGIES),
        )
    return bool(strategy == _TOLERANT)


def _read_retry(node: Node) -> RetryPolicy:
    return RetryPolicy(
        max_retries=int(node.at("maxRetryCount").number()),
        backoff_s=_duration_s(node.at("backoffDuration"), 0.0),
        backoff_factor=node.at("backoffFactor").number(2.0),
        max_backoff_s=_duration_s(node.at("backoffMaxDuration"), 3600.0),
    )


def _duration_s(node: Node, default: float) -> float:
    if node.value is None:
        return default
    match = _DURATION.fullmatch(node.text())
    if match is None:
        raise InvalidInput(f"{node.path} is {node.text()!r}; a duration looks like 60s.")
    return float(match.group(1))


def _read_parameter_source(node: Node, task: str) -> InputSource:
    if "parameterExpressionSelector" in node:
        raise node.at("parameterExpressionSelector").unsupported(
            "a part of a parameter (parameterExpressionSelector)", task
        )
    if "taskFinalStatus" in node:
        raise node.unsupported("the final status of another task (dsl.ExitHandler)", task)
    if "taskOutputParameter" in node:
        output = node.at("taskOutputParameter")
        return FromTask(output.at("producerTask").text(), output.at("outputParameterKey").text())
    if "componentInputParameter" in node:
        return FromInput(node.at("componentInputParameter").text())
    value = node.at("runtimeValue")
    if "runtimeParameter" in value:
        return FromInput(value.at("runtimeParameter").text())
    if "constant" in value.object():
        return Constant(value.at("constant").value)
    raise node.wrong("runtimeValue.constant, componentInputParameter or taskOutputParameter")


def _read_artifact_source(node: Node, task: str) -> FromInput | FromTask:
    if "taskOutputArtifact" in node:
        output = node.at("taskOutputArtifact")
        return FromTask(output.at("producerTask").text(), output.at("outputArtifactKey").text())
    if "componentInputArtifact" in node:
        return FromInput(node.at("componentInputArtifact").text())
    raise node.wrong("componentInputArtifact or taskOutputArtifact")


def read_outputs(node: Node) -> tuple[dict[str, FromTask], dict[str, FromTask]]:
    """(parameters, artifacts) of a DAG, each from one of its tasks."""
    parameters: dict[str, FromTask] = {}
    for key, at in node.at("parameters").items():
        check_name(key, at)
        if "valueFromOneof" in at:
            raise at.unsupported("an output from one of several branches (dsl.OneOf)")
        chosen = at.at("valueFromParameter")
        parameters[key] = FromTask(
            chosen.at("producerSubtask").text(), chosen.at("outputParameterKey").text()
        )
    artifacts: dict[str, FromTask] = {}
    for key, at in node.at("artifacts").items():
        check_name(key, at)
        selectors = at.at("artifactSelectors").list()
        if len(selectors) > 1:
            raise at.unsupported("an output from one of several branches (dsl.OneOf)")
        if not selectors:
            raise at.at("artifactSelectors").wrong("a list with one selector")
        artifacts[key] = FromTask(
            selectors[0].at("producerSubtask").text(), selectors[0].at("outputArtifactKey").text()
        )
    return parameters, artifacts


def check_acyclic(tasks: Mapping[str, DagTask], path: str) -> None:
    sorter = TopologicalSorter({name: task.after for name, task in tasks.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidInput(
            f"{path} has a cycle: {circle}.", next_step="A task cannot wait for itself."
        ) from None
