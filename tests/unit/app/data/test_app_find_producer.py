"""Which published component made what: found by its contents, whatever it is called there."""

from __future__ import annotations

import pytest

from seamline.app.data.find_producer import published_component
from seamline.domain.digests import digest_of
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane

PIPELINE = """
schemaVersion: 2.1.0
pipelineInfo: {{name: {name}}}
root:
  dag: {{tasks: {{prep: {{componentRef: {{name: {component}}}, taskInfo: {{name: prep}}}}}}}}
components:
  {component}:
    executorLabel: exec-prep
    outputDefinitions: {{artifacts: {{table: {{artifactType: {{schemaTitle: system.Dataset}}}}}}}}
deploymentSpec:
  executors:
    exec-prep:
      container: {{image: "python:3.11", command: [python, -c, "{code}"]}}
"""


def ir(name: str, component: str, code: str) -> bytes:
    return PIPELINE.format(name=name, component=component, code=code).encode()


@pytest.mark.parametrize("component", ["comp-prep", "comp-prep-2"])
def test_by_contents(plane: ControlPlane, component: str) -> None:
    """The tag that is a version, rather than the one that moves."""
    stores = plane.platform.stores
    for tag, code in (("1.3", "print(3)"), ("1.4", "print(4)")):
        publish_pipeline(stores, ir("prep", "comp-prep", code), [tag], by="ada")
    publish_pipeline(stores, ir("prep", "comp-prep", "print(4)"), ["latest"], by="ada")
    for code, version in (("print(3)", "1.3"), ("print(4)", "1.4"), ("print(5)", None)):
        used = ir("churn", component, code)
        stores.blobs.put(used)
        name = "prep" if version is not None else component.removeprefix("comp-")
        assert published_component(stores, digest_of(used), component) == (name, version)
