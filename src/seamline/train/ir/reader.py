"""Compiled IR (YAML or JSON, one or two documents) → `Pipeline`; refuses what is not supported.

Nothing is ignored silently: a feature is read, or refused with its task's name, or noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.train.ir.document import Node, load_documents
from seamline.train.ir.executors import read_executor
from seamline.train.ir.mending import CHANNEL, mend_channels
from seamline.train.ir.placeholders import uses_workspace
from seamline.train.ir.platform import ExecutorPlatform, Platform, read_platform
from seamline.train.ir.tasks import check_dag, check_name, read_outputs, read_tasks
from seamline.train.ir.types import (
    ArtifactSpec,
    Component,
    Constant,
    ContainerExecutor,
    Dag,
    ImporterExecutor,
    ParameterSpec,
    ParameterType,
    Pipeline,
)
from seamline.train.ir.values import cast_value, storable
from seamline.train.ir.wiring import declare_inputs, wire_tasks
from seamline.train.ir.words import check_words, words_of

_SCHEMA_VERSION = re.compile(r"2\.\d+\.\d+")
_TOP_FIELDS = frozenset(
    {
        "pipelineInfo",
        "deploymentSpec",
        "sdkVersion",
        "schemaVersion",
        "components",
        "root",
        "defaultPipelineRoot",
    }
)
#: A column.
_MAX_TITLE = 120
_COMPONENT_FIELDS = frozenset({"inputDefinitions", "outputDefinitions", "dag", "executorLabel"})
_PARAMETER_TYPES = tuple(kind for kind in ParameterType if kind is not ParameterType.ANY)


def read_pipeline(data: bytes) -> Pipeline:
    """Raises InvalidInput (with the path) for what is not IR, Refused for unsupported features."""
    spec, platform_document = _tell_apart(load_documents(data))
    top = Node(spec)
    _check_is_ir(top)
    platform = read_platform(Node(platform_document, "platforms document"))
    root, components = _read_components(top, platform)
    pipeline = Pipeline(
        name=top.at("pipelineInfo").at("name").text(),
        description=str(top.at("pipelineInfo").object().get("description") or ""),
        root=root,
        components=components,
        notes=platform.notes + _root_notes(top) + _executor_notes(components.values()),
        has_workspace=platform.has_workspace,
        timeout_s=platform.timeout_s,
    )
    _check(pipeline)
    return pipeline


def _tell_apart(documents: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(pipeline, platform), however they are wrapped."""
    for document in documents:
        if document.get("kind") == "PipelineVersion":  # compiled into a Kubernetes manifest
            manifest = Node(document).at("spec")
            return manifest.at("pipelineSpec").object(), manifest.at("platformSpec").object()
    spec = documents[0]
    if "pipeline_spec" in spec and len(documents) == 1:
        # The shape in which the KFP client sends both in one object.
        wrapped = Node(spec)
        return wrapped.at("pipeline_spec").object(), wrapped.at("platform_spec").object()
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
    top.only(_TOP_FIELDS)


# -- components --------------------------------------------------------------------------------
def _read_components(top: Node, platform: Platform) -> tuple[Component, dict[str, Component]]:
    executors = top.at("deploymentSpec").at("executors")
    components: dict[str, Component] = {}
    platforms: dict[str, ExecutorPlatform] = {}
    for name, node in top.at("components").items():
        check_name(name, node)
        components[name] = _read_component(name, node, executors, platform)
        label = str(node.object().get("executorLabel") or "")
        platforms[name] = platform.executors.get(label, ExecutorPlatform())
    root = _read_component("root", top.at("root"), executors, platform)
    root = wire_tasks(root, components, platforms)
    components = {n: wire_tasks(one, components, platforms) for n, one in components.items()}
    root, components = mend_channels(root, components)
    return root, declare_inputs([root, *components.values()], components)


def _read_component(name: str, node: Node, executors: Node, platform: Platform) -> Component:
    task = name.removeprefix("comp-")
    node.only(_COMPONENT_FIELDS, task)
    inputs, outputs = node.at("inputDefinitions"), node.at("outputDefinitions")
    body = _read_body(name, node, executors, platform)
    if isinstance(body, ImporterExecutor) and len(outputs.at("artifacts").object()) != 1:
        raise outputs.at("artifacts").wrong("one artifact, since this component is an importer")
    is_dag = isinstance(body, Dag)
    return Component(
        name=name,
        parameters={
            key: _read_parameter(at, task, is_guessed=is_dag and key.startswith(CHANNEL))
            for key, at in inputs.at("parameters").items()
        },
        artifacts={key: _read_artifact(key, at) for key, at in inputs.at("artifacts").items()},
        output_parameters={
            check_name(key, at): _read_parameter(at, task)
            for key, at in outputs.at("parameters").items()
        },
        output_artifacts={
            key: _read_artifact(key, at) for key, at in outputs.at("artifacts").items()
        },
        body=body,
    )


def _read_body(
    name: str, node: Node, executors: Node, platform: Platform
) -> Dag | ContainerExecutor | ImporterExecutor:
    if "dag" in node:
        dag = node.at("dag")
        return Dag(read_tasks(dag.at("tasks")), *read_outputs(dag.at("outputs")))
    if "executorLabel" not in node:
        raise InvalidInput(f"{node.path or name} has neither a dag nor an executorLabel.")
    label = node.at("executorLabel").text()
    if label not in executors.object():
        raise InvalidInput(
            f"{node.path}.executorLabel names {label!r}; there is no such executor.",
            next_step=nearest(label, executors.object()),
        )
    settings = platform.executors.get(label, ExecutorPlatform())
    return read_executor(executors.at(label), label, settings)


def _read_parameter(node: Node, task: str, *, is_guessed: bool = False) -> ParameterSpec:
    kind = node.at("parameterType").text()
    if kind in ("TASK_CONFIG", "TASK_CONFIGURATION"):
        raise node.unsupported(f"a {kind} parameter (dsl.TaskConfig)", task)
    if kind not in _PARAMETER_TYPES:
        raise InvalidInput(
            f"{node.path}.parameterType is {kind!r}.", next_step=nearest(kind, _PARAMETER_TYPES)
        )
    wanted = ParameterType.ANY if is_guessed else ParameterType(kind)
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
    kind = node.at("artifactType")
    title = str(kind.object().get("schemaTitle") or "system.Artifact")
    if len(title) > _MAX_TITLE or storable(title) != title:
        raise kind.at("schemaTitle").wrong(f"text of up to {_MAX_TITLE} characters")
    return ArtifactSpec(
        schema_title=title,
        schema_version=str(kind.object().get("schemaVersion") or "0.0.1"),
        is_optional=node.at("isOptional").flag(),
        is_list=node.at("isArtifactList").flag(),
    )


# -- notes -------------------------------------------------------------------------------------
def _root_notes(top: Node) -> tuple[str, ...]:
    if "defaultPipelineRoot" not in top:
        return ()
    place = top.at("defaultPipelineRoot").text()
    return (f"defaultPipelineRoot ({place}) has no effect: artifacts are kept in the workspace.",)


def _executor_notes(components: Iterable[Component]) -> tuple[str, ...]:
    bodies = (component.body for component in components)
    return tuple(n for body in bodies if isinstance(body, ContainerExecutor) for n in body.notes)


# -- checks ------------------------------------------------------------------------------------
def _check(pipeline: Pipeline) -> None:
    for owner in (pipeline.root, *pipeline.components.values()):
        check_words(owner)
        if isinstance(owner.body, Dag):
            check_dag(owner.body, _place(owner))
            _check_tasks(owner, owner.body, pipeline)
    if not isinstance(pipeline.root.body, Dag):
        raise InvalidInput("root has no dag: there is nothing to run.")
    needed = sorted(k for k, spec in pipeline.root.artifacts.items() if not spec.is_optional)
    if needed:
        raise Node(None, "root.inputDefinitions.artifacts").unsupported(
            f"artifacts as arguments of the run ({', '.join(needed)})"
        )
    _check_workspace(pipeline)


def _check_tasks(owner: Component, dag: Dag, pipeline: Pipeline) -> None:
    for task in dag.tasks.values():
        place = f"{_place(owner)}.tasks.{task.name}"
        component = pipeline.components.get(task.component)
        if component is None:
            raise InvalidInput(
                f"{place}.componentRef names {task.component!r}; there is no such component.",
                next_step=nearest(task.component, pipeline.components),
            )
        if task.loop is None:
            continue
        is_over_artifacts = task.loop.is_over_artifacts
        inputs = component.artifacts if is_over_artifacts else component.parameters
        if task.loop.item not in inputs:
            kind = "artifact" if is_over_artifacts else "parameter"
            raise InvalidInput(
                f"{place}: the loop {task.name!r} gives each item to the {kind} "
                f"{task.loop.item!r}, which {component.name!r} does not have.",
                next_step=nearest(task.loop.item, inputs),
            )


def _check_workspace(pipeline: Pipeline) -> None:
    """Raises InvalidInput for a task that needs the workspace of a pipeline that has none."""
    if pipeline.has_workspace:
        return
    users: list[str] = []
    for component in (pipeline.root, *pipeline.components.values()):
        match component.body:
            case Dag(tasks):
                users += [
                    task.name
                    for task in tasks.values()
                    for source in task.parameters.values()
                    if isinstance(source, Constant) and uses_workspace(source.value)
                ]
            case ContainerExecutor() as body if uses_workspace(words_of(body)):
                users.append(component.name.removeprefix("comp-"))
            case ImporterExecutor() as body if body.downloads_to_workspace:
                users.append(component.name.removeprefix("comp-"))
    if users:
        raise InvalidInput(
            f"Task {users[0]!r} uses the workspace of the run, and the pipeline has none.",
            next_step="Add pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig("
            "size='1Gi')) to the pipeline.",
        )


def _place(component: Component) -> str:
    return "root.dag" if component.name == "root" else f"components.{component.name}.dag"
