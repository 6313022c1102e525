"""Compiled IR (YAML or JSON, one or two documents) → `Pipeline`; refuses what is not supported.

Nothing is ignored silently: a feature is read, or refused with its task's name, or noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.document import Node, load_documents
from seamline.train.ir import (
    ArtifactSpec,
    Component,
    ContainerExecutor,
    Dag,
    ImporterExecutor,
    ParameterSpec,
    ParameterType,
    Pipeline,
)
from seamline.train.ir_executors import Platform, read_executor, read_platform
from seamline.train.ir_tasks import check_acyclic, check_name, read_outputs, read_tasks
from seamline.train.values import cast_value

_SCHEMA_VERSION = re.compile(r"2\.\d+\.\d+")


def read_pipeline(data: bytes) -> Pipeline:
    """Raises InvalidInput (with the path) for what is not IR, Refused for unsupported features."""
    documents = load_documents(data)
    spec, platform_document = _tell_apart(documents)
    top = Node(spec)
    _check_is_ir(top)
    platform = read_platform(Node(platform_document, "platforms document"))
    executors = top.at("deploymentSpec").at("executors")
    components = {
        check_name(name, node): _read_component(name, node, executors, platform)
        for name, node in top.at("components").items()
    }
    root = _read_component("root", top.at("root"), executors, platform)
    pipeline = Pipeline(
        name=top.at("pipelineInfo").at("name").text(),
        description=str(top.at("pipelineInfo").object().get("description") or ""),
        root=root,
        components=components,
        notes=platform.notes + _executor_notes(components.values()),
    )
    _check_references(pipeline)
    return pipeline


def _tell_apart(documents: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = documents[0]
    if "pipeline_spec" in spec and len(documents) == 1:
        # The shape in which the KFP client sends both in one object.
        wrapped = Node(spec)
        return (
            wrapped.at("pipeline_spec").object(),
            wrapped.at("platform_spec").object(),
        )
    return spec, documents[1] if len(documents) == 2 else {}


def _check_is_ir(top: Node) -> None:
    found = sorted(top.object())
    needed = ("schemaVersion", "pipelineInfo", "root")
    missing = [key for key in needed if key not in top]
    if missing:
        raise InvalidInput(
            f"This is no compiled pipeline: it has no {' and no '.join(missing)}; "
            f"its keys are {', '.join(found[:8]) or 'none'}.",
            next_step="Compile the pipeline with the KFP SDK (kfp.compiler.Compiler).",
        )
    version = top.at("schemaVersion")
    if not _SCHEMA_VERSION.fullmatch(version.text()):
        raise InvalidInput(
            f"schemaVersion is {version.text()!r}; 2.x.y can be read.",
            next_step="Compile the pipeline with a KFP SDK of version 2.",
        )


def _read_component(name: str, node: Node, executors: Node, platform: Platform) -> Component:
    inputs, outputs = node.at("inputDefinitions"), node.at("outputDefinitions")
    body: Dag | ContainerExecutor | ImporterExecutor
    if "dag" in node:
        body = _read_dag(node.at("dag"))
    elif "executorLabel" in node:
        label = node.at("executorLabel").text()
        if label not in executors.object():
            raise InvalidInput(
                f"{node.path}.executorLabel names {label!r}; there is no such executor.",
                next_step=nearest(label, executors.object()),
            )
        body = read_executor(executors.at(label), label, platform)
    else:
        raise InvalidInput(f"{node.path or name} has neither a dag nor an executorLabel.")
    if isinstance(body, ImporterExecutor) and len(outputs.at("artifacts").object()) != 1:
        raise outputs.at("artifacts").wrong("one artifact, since this component is an importer")
    return Component(
        name=name,
        parameters={key: _read_parameter(at) for key, at in inputs.at("parameters").items()},
        artifacts={key: _read_artifact(key, at) for key, at in inputs.at("artifacts").items()},
        output_parameters={
            check_name(key, at): _read_parameter(at) for key, at in outputs.at("parameters").items()
        },
        output_artifacts={
            key: _read_artifact(key, at) for key, at in outputs.at("artifacts").items()
        },
        body=body,
    )


def _executor_notes(components: Iterable[Component]) -> tuple[str, ...]:
    bodies = (component.body for component in components)
    return tuple(n for body in bodies if isinstance(body, ContainerExecutor) for n in body.notes)


def _read_dag(node: Node) -> Dag:
    tasks = read_tasks(node.at("tasks"))
    check_acyclic(tasks, node.at("tasks").path)
    parameters, artifacts = read_outputs(node.at("outputs"))
    for key, source in (*parameters.items(), *artifacts.items()):
        if source.task not in tasks:
            raise InvalidInput(
                f"{node.path}.outputs: {key!r} comes from the task {source.task!r}, "
                "which is not in this DAG.",
                next_step=nearest(source.task, tasks),
            )
    return Dag(tasks, parameters, artifacts)


def _read_parameter(node: Node) -> ParameterSpec:
    kind = node.at("parameterType").text()
    if kind in ("TASK_FINAL_STATUS", "TASK_CONFIG", "TASK_CONFIGURATION"):
        raise node.unsupported(f"a {kind} parameter")
    try:
        wanted = ParameterType(kind)
    except ValueError:
        raise InvalidInput(
            f"{node.path}.parameterType is {kind!r}.", next_step=nearest(kind, list(ParameterType))
        ) from None
    has_default = node.object().get("defaultValue") is not None
    default = node.at("defaultValue")
    return ParameterSpec(
        type=wanted,
        is_optional=node.at("isOptional").flag(),
        has_default=has_default,
        default=cast_value(default.value, wanted, default.path) if has_default else None,
        description=str(node.object().get("description") or ""),
        literals=tuple(item.value for item in node.at("literals").list()),
    )


def _read_artifact(key: str, node: Node) -> ArtifactSpec:
    check_name(key, node)
    if node.at("isArtifactList").flag():
        raise node.unsupported("a list of artifacts")
    kind = node.at("artifactType")
    return ArtifactSpec(
        schema_title=str(kind.object().get("schemaTitle") or "system.Artifact"),
        schema_version=str(kind.object().get("schemaVersion") or "0.0.1"),
        is_optional=node.at("isOptional").flag(),
    )


def _check_references(pipeline: Pipeline) -> None:
    for owner in (pipeline.root, *pipeline.components.values()):
        if not isinstance(owner.body, Dag):
            continue
        for task in owner.body.tasks.values():
            if task.component not in pipeline.components:
                raise InvalidInput(
                    f"{_place(owner)}.tasks.{task.name}.componentRef names {task.component!r}; "
                    "there is no such component.",
                    next_step=nearest(task.component, pipeline.components),
                )
    if not isinstance(pipeline.root.body, Dag):
        raise InvalidInput("root has no dag: there is nothing to run.")
    needed = sorted(k for k, spec in pipeline.root.artifacts.items() if not spec.is_optional)
    if needed:
        raise Node(None, "root.inputDefinitions.artifacts").unsupported(
            f"artifacts as arguments of the run ({', '.join(needed)})"
        )


def _place(component: Component) -> str:
    return "root.dag" if component.name == "root" else f"components.{component.name}.dag"
