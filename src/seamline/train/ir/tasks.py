"""The tasks of one DAG, and what flows between them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.document import Node
from seamline.train.ir.expressions import Expression, names_read, parse_expression
from seamline.train.ir.placeholders import check_placeholders
from seamline.train.ir.types import (
    Constant,
    Dag,
    DagTask,
    FinalStatus,
    FromInput,
    FromTask,
    InputSource,
    Loop,
    RetryPolicy,
)

#: Task and output names become parts of file paths.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_TOLERANT = "ALL_UPSTREAM_TASKS_COMPLETED"
_STRATEGIES = ("TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", _TOLERANT)
_FIELDS = frozenset(
    {
        "taskInfo",
        "componentRef",
        "inputs",
        "dependentTasks",
        "cachingOptions",
        "triggerPolicy",
        "retryPolicy",
        "artifactIterator",
        "parameterIterator",
        "iteratorPolicy",
    }
)


def check_name(name: str, node: Node) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{node.path}: {name!r} cannot be a name.",
            next_step="Names have up to 128 letters, digits, dots, dashes and underscores.",
        )
    return name


def read_tasks(node: Node) -> dict[str, DagTask]:
    return {check_name(name, at): _read_task(name, at) for name, at in node.items()}


def _read_task(name: str, node: Node) -> DagTask:
    node.only(_FIELDS, name)
    inputs = node.at("inputs")
    parameters = {key: read_source(at, name) for key, at in inputs.at("parameters").items()}
    artifacts = {key: _read_artifact_source(at) for key, at in inputs.at("artifacts").items()}
    for key, source in parameters.items():
        if isinstance(source, Constant):
            check_placeholders(source.value, parameters, name, inputs.at("parameters").at(key))
    named = [at.text() for at in node.at("dependentTasks").list()]
    sources = (*parameters.values(), *artifacts.values())
    trigger = node.at("triggerPolicy")
    return DagTask(
        name=name,
        component=node.at("componentRef").at("name").text(),
        parameters=parameters,
        artifacts=artifacts,
        after=tuple(dict.fromkeys((*named, *tasks_read(sources)))),
        condition=_read_condition(trigger.at("condition"), name, parameters),
        loop=_read_loop(node, name, parameters, artifacts),
        ignores_upstream_failure=_read_strategy(trigger),
        retry=_read_retry(node.at("retryPolicy")) if "retryPolicy" in node else None,
        enable_cache=node.at("cachingOptions").at("enableCache").flag(),
        cache_key=str(node.at("cachingOptions").object().get("cacheKey") or ""),
        display_name=str(node.at("taskInfo").object().get("name") or name),
    )


def tasks_read(sources: tuple[InputSource, ...]) -> list[str]:
    """The siblings whose outputs, or whose end, the inputs come from."""
    return [source.task for source in sources if isinstance(source, FromTask | FinalStatus)]


def _read_strategy(node: Node) -> bool:
    node.only(("condition", "strategy"))
    strategy = node.object().get("strategy", _STRATEGIES[0])
    if strategy not in _STRATEGIES:
        raise InvalidInput(
            f"{node.path}.strategy is {strategy!r}.",
            next_step=nearest(str(strategy), _STRATEGIES),
        )
    return bool(strategy == _TOLERANT)


def _read_condition(
    node: Node, task: str, parameters: Mapping[str, InputSource]
) -> Expression | None:
    if node.value in (None, ""):
        return None
    condition = _parse(node, task)
    if condition.is_selector:
        raise InvalidInput(
            f"{node.path}: the condition of task {task!r} reads string_value, which only the "
            "selector of an input has.",
            next_step="Read an input: inputs.parameter_values['name'].",
        )
    for name in names_read(condition):
        if name not in parameters:
            raise InvalidInput(
                f"{node.path}: the condition of task {task!r} reads the input {name!r}, "
                "which the task does not have.",
                next_step=nearest(name, parameters),
            )
    return condition


def _parse(node: Node, task: str) -> Expression:
    try:
        return parse_expression(node.text())
    except InvalidInput as error:
        raise InvalidInput(
            f"Task {task!r}, {node.path}: {error.message}",
            next_step=error.next_step,
            task=task,
            **error.details,
        ) from error


# -- loops -------------------------------------------------------------------------------------
def _read_loop(
    node: Node,
    task: str,
    parameters: Mapping[str, InputSource],
    artifacts: Mapping[str, FromInput | FromTask],
) -> Loop | None:
    over_parameter, over_artifact = "parameterIterator" in node, "artifactIterator" in node
    if not over_parameter and not over_artifact:
        return None
    if over_parameter and over_artifact:
        raise InvalidInput(f"{node.path}: task {task!r} has two iterators; it can have one.")
    iterator = node.at("artifactIterator" if over_artifact else "parameterIterator")
    return Loop(
        items=_read_items(iterator.at("items"), task, artifacts if over_artifact else parameters),
        item=iterator.at("itemInput").text(),
        is_over_artifacts=over_artifact,
        parallelism=node.at("iteratorPolicy").at("parallelismLimit").count(),
    )


def _read_items(node: Node, task: str, inputs: Mapping[str, object]) -> Constant | FromInput:
    if "raw" in node:
        return Constant(_read_raw(node.at("raw"), task))
    key = "inputArtifact" if "inputArtifact" in node else "inputParameter"
    name = node.at(key).text()
    if name not in inputs:
        raise InvalidInput(
            f"{node.path}.{key}: task {task!r} loops over its input {name!r}, "
            "which it does not have.",
            next_step=nearest(name, inputs),
        )
    return FromInput(name)


def _read_raw(node: Node, task: str) -> list[object]:
    try:
        items = json.loads(node.text())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{node.path}: the items of the loop {task!r} are not JSON: {error}."
        ) from error
    if not isinstance(items, list):
        raise InvalidInput(
            f"{node.path}: the loop {task!r} is over {node.text()[:80]}, which is no list.",
            next_step="Loop over a list (dsl.ParallelFor).",
        )
    return items


# -- retries -----------------------------------------------------------------------------------
def _read_retry(node: Node) -> RetryPolicy:
    return RetryPolicy(
        max_retries=node.at("maxRetryCount").count(),
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


# -- inputs and outputs ------------------------------------------------------------------------
def read_source(node: Node, task: str) -> InputSource:
    """Where a parameter comes from; `task` is the one that is given it."""
    if "taskFinalStatus" in node:
        return FinalStatus(node.at("taskFinalStatus").at("producerTask").text())
    part = _read_selector(node.at("parameterExpressionSelector"), task)
    if "taskOutputParameter" in node:
        output = node.at("taskOutputParameter")
        return FromTask(
            output.at("producerTask").text(), output.at("outputParameterKey").text(), part
        )
    if "componentInputParameter" in node:
        return FromInput(node.at("componentInputParameter").text(), part)
    value = node.at("runtimeValue")
    if "runtimeParameter" in value:
        return FromInput(value.at("runtimeParameter").text(), part)
    if "constant" in value.object():
        if part is not None:
            raise node.at("parameterExpressionSelector").unsupported("a part of a constant", task)
        return Constant(value.at("constant").value)
    raise node.wrong(
        "runtimeValue.constant, componentInputParameter, taskOutputParameter or taskFinalStatus"
    )


def _read_selector(node: Node, task: str) -> Expression | None:
    if node.value in (None, ""):
        return None
    selector = _parse(node, task)
    if not selector.is_selector:
        raise InvalidInput(
            f"{node.path}: {selector.text!r} selects no part of a value (task {task!r}).",
            next_step='A selector looks like parseJson(string_value)["key"].',
        )
    return selector


def _read_artifact_source(node: Node) -> FromInput | FromTask:
    if "taskOutputArtifact" in node:
        output = node.at("taskOutputArtifact")
        return FromTask(output.at("producerTask").text(), output.at("outputArtifactKey").text())
    if "componentInputArtifact" in node:
        return FromInput(node.at("componentInputArtifact").text())
    raise node.wrong("componentInputArtifact or taskOutputArtifact")


Outputs = dict[str, tuple[FromTask, ...]]


def read_outputs(node: Node) -> tuple[Outputs, Outputs]:
    """(parameters, artifacts) of a DAG, each from one of its tasks, or from the one of several
    that ran."""
    parameters: Outputs = {}
    for key, at in node.at("parameters").items():
        check_name(key, at)
        if "valueFromOneof" in at:
            selectors = at.at("valueFromOneof").at("parameterSelectors").list()
        else:
            selectors = [at.at("valueFromParameter")]
        parameters[key] = _read_selectors(at, selectors, "outputParameterKey")
    artifacts: Outputs = {}
    for key, at in node.at("artifacts").items():
        check_name(key, at)
        selectors = at.at("artifactSelectors").list()
        artifacts[key] = _read_selectors(at, selectors, "outputArtifactKey")
    return parameters, artifacts


def _read_selectors(node: Node, selectors: list[Node], key: str) -> tuple[FromTask, ...]:
    if not selectors:
        raise InvalidInput(f"{node.path} selects the output of no task.")
    return tuple(
        FromTask(selector.at("producerSubtask").text(), selector.at(key).text())
        for selector in selectors
    )


def check_dag(dag: Dag, path: str) -> None:
    """Raises InvalidInput for tasks that wait for, or outputs that come from, what is not there."""
    for task in dag.tasks.values():
        for upstream in task.after:
            if upstream not in dag.tasks:
                raise InvalidInput(
                    f"{path}.tasks.{task.name} depends on {upstream!r}, which is not in this DAG.",
                    next_step=nearest(upstream, dag.tasks),
                )
    for key, sources in (*dag.parameters.items(), *dag.artifacts.items()):
        for source in sources:
            if source.task not in dag.tasks:
                raise InvalidInput(
                    f"{path}.outputs: {key!r} comes from the task {source.task!r}, "
                    "which is not in this DAG.",
                    next_step=nearest(source.task, dag.tasks),
                )
    sorter = TopologicalSorter({name: task.after for name, task in dag.tasks.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidInput(
            f"{path}.tasks has a cycle: {circle}.", next_step="A task cannot wait for itself."
        ) from None
