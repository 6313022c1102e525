"""The platform document: honoured, noted, or refused. As kfp-kubernetes 2.17 writes it."""

import pytest
import yaml
from kfp import dsl
from kfp.dsl.executor import Executor

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir.claims import claim_function
from seamline.train.ir.reader import read_pipeline
from seamline.train.ir.types import Constant, FromInput, FromTask, Mount, SecretKind, VolumeKind
from seamline.train.plan.planner import make_plan

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def name() -> str:
    return "x"


@dsl.component(base_image=IMAGE)
def use(n: int) -> str:
    return str(n)


@dsl.pipeline
def plain(secret: str = "s"):
    name()
    use(n=1)


def with_document(ir: bytes, kubernetes: dict) -> bytes:
    return ir + b"\n---\n" + yaml.safe_dump({"platforms": {"kubernetes": kubernetes}}).encode()


def with_setting(ir: bytes, setting: dict) -> bytes:
    return with_document(ir, {"deploymentSpec": {"executors": {"exec-use": setting}}})


def read_use(compile_ir, setting: dict):
    pipeline = read_pipeline(with_setting(compile_ir(plain), setting))
    return pipeline.root.body.tasks["use"], pipeline.components["comp-use"], pipeline.notes


FROM_INPUT = {"componentInputParameter": "secret"}
FROM_TASK = {"taskOutputParameter": {"producerTask": "name", "outputParameterKey": "Output"}}
CONSTANT = {"runtimeValue": {"constant": "fixed"}}


@pytest.mark.parametrize("seconds", [30, "30", 30.0])
def test_time_limits(compile_ir, seconds):
    _, component, notes = read_use(compile_ir, {"activeDeadlineSeconds": seconds})
    assert (component.body.timeout_s, notes) == (30.0, ())
    none = read_use(compile_ir, {"activeDeadlineSeconds": "0"})[1]
    assert none.body.timeout_s is None
    with pytest.raises(InvalidInput, match="a time limit is not negative"):
        read_use(compile_ir, {"activeDeadlineSeconds": "-1"})


@pytest.mark.parametrize(
    ("setting", "prefix", "kind"),
    [
        ("secretAsEnv", "secret", SecretKind.SECRET),
        ("configMapAsEnv", "configMap", SecretKind.CONFIG_MAP),
    ],
)
def test_secrets_and_config_maps_as_variables(compile_ir, setting, prefix, kind):
    pairs = [
        {f"{prefix}Key": "password", "envVar": "PASSWORD"},
        {f"{prefix}Key": "u", "envVar": "U"},
    ]
    task, component, _ = read_use(
        compile_ir,
        {
            setting: [
                {f"{prefix}Name": "fixed", f"{prefix}NameParameter": CONSTANT, "keyToEnv": pairs},
                {f"{prefix}NameParameter": FROM_TASK, "keyToEnv": pairs[1:], "optional": True},
                {f"{prefix}Name": "older", "keyToEnv": pairs[:1], "optional": False},
                {f"{prefix}NameParameter": FROM_INPUT, "keyToEnv": pairs[1:]},
            ]
        },
    )
    first, second, third, fourth, fifth = component.body.secrets
    assert (first.variable, first.key, first.kind) == ("PASSWORD", "password", kind)
    assert first.name == second.name == Constant("fixed")
    assert fourth.name == Constant("older")
    assert [one.is_optional for one in component.body.secrets] == [False, False, True, False, False]
    # A name from elsewhere becomes an input of the task, so that the task waits for it.
    for variable, source in ((third, FROM_TASK), (fifth, FROM_INPUT)):
        assert isinstance(variable.name, FromInput)
        assert component.parameters[variable.name.name].is_optional
        expected = FromTask("name", "Output") if source is FROM_TASK else FromInput("secret")
        assert task.parameters[variable.name.name] == expected
    assert task.after == ("name",)


def test_volumes(compile_ir):
    task, component, notes = read_use(
        compile_ir,
        {
            "pvcMount": [
                {"constant": "data", "mountPath": "/data", "pvcNameParameter": CONSTANT,
                 "subPath": "a/b"},
                {"constant": "older", "mountPath": "/older"},
                {**FROM_TASK, "mountPath": "/made", "pvcNameParameter": FROM_TASK},
                {**FROM_INPUT, "mountPath": "/older-input"},
            ],
            "secretAsVolume": [{"secretName": "s", "mountPath": "/s", "optional": True}],
            "configMapAsVolume": [{"configMapName": "c", "mountPath": "/c"}],
            "emptyDirMounts": [
                {"volumeName": "scratch", "mountPath": "/scratch", "medium": "Memory"}
            ],
            "genericEphemeralVolume": [
                {"volumeName": "eph", "mountPath": "/eph", "size": "5Gi", "accessModes": ["x"]}
            ],
        },
    )  # fmt: skip
    mounts = {mount.path: mount for mount in component.body.mounts}
    assert mounts["/data"] == Mount(VolumeKind.CLAIM, Constant("fixed"), "/data", "a/b")
    assert mounts["/older"] == Mount(VolumeKind.CLAIM, Constant("older"), "/older")
    assert task.parameters[mounts["/made"].name.name] == FromTask("name", "Output")
    assert task.parameters[mounts["/older-input"].name.name] == FromInput("secret")
    assert mounts["/s"] == Mount(VolumeKind.SECRET, Constant("s"), "/s", is_optional=True)
    assert mounts["/c"] == Mount(VolumeKind.CONFIG_MAP, Constant("c"), "/c")
    assert mounts["/scratch"] == Mount(VolumeKind.EMPTY, Constant("scratch"), "/scratch")
    assert mounts["/eph"] == Mount(VolumeKind.EMPTY, Constant("eph"), "/eph")
    assert notes == (
        "exec-use: medium of the volume scratch is not enforced.",
        "exec-use: size of the volume eph is not enforced.",
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"pvcMount": [{"constant": "x", "mountPath": "data"}]},
         r"pvcMount\[0\].mountPath is 'data'"),
        ({"pvcMount": [{"constant": "x", "mountPath": "/a/../b"}]}, "without .."),
        ({"pvcMount": [{"constant": "x", "mountPath": "/a", "subPath": "../b"}]}, "subPath is"),
        ({"pvcMount": [{"mountPath": "/a"}]}, "taskOutputParameter"),
        ({"pvcMount": [{"mountPath": "/a", "pvcNameParameter": {"runtimeValue": {"constant": 3}}}]},
         "has to be a name"),
        ({"secretAsEnv": [{"secretName": "x", "keyToEnv": [{"secretKey": "k"}]}]},
         "envVar is missing"),
        ({"secretAsEnv": [{"secretNameParameter": {"componentInputParameter": "scret"},
          "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}]}, "'scret'"),
        ({"secretAsEnv": [{"secretNameParameter": {"taskOutputParameter":
          {"producerTask": "nam", "outputParameterKey": "Output"}},
          "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}]}, "depends on 'nam'.*mean name"),
    ],
)  # fmt: skip
def test_broken_settings_name_their_place(compile_ir, setting, said):
    with pytest.raises(InvalidInput, match=f"(?s){said}"):
        make_plan(read_pipeline(with_setting(compile_ir(plain), setting)))


def test_what_a_pod_knows_of_itself(compile_ir):
    _, component, notes = read_use(
        compile_ir,
        {
            "fieldPathAsEnv": [
                {"name": "POD", "fieldPath": "metadata.name"},
                {"name": "RUN", "fieldPath": "metadata.labels['pipeline/runid']"},
                {"name": "HOST", "fieldPath": "status.hostIP"},
            ]
        },
    )  # fmt: skip
    assert component.body.env == {
        "POD": "{{$.pipeline_task_uuid}}", "RUN": "{{$.pipeline_job_uuid}}",
    }  # fmt: skip
    assert notes == (
        "exec-use: HOST stays unset: status.hostIP is known to a pod of a cluster only.",
    )


@pytest.mark.parametrize(
    "setting",
    ["nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "podMetadata", "imagePullSecret",
     "imagePullPolicy", "enabledSharedMemory", "securityContext"],
)  # fmt: skip
def test_what_has_no_effect_here_is_noted(compile_ir, setting):
    notes = read_use(compile_ir, {setting: [{"a": "b"}]})[2]
    assert notes == (f"exec-use: {setting} has no effect on a single machine.",)


def test_what_nobody_knows_is_refused(compile_ir):
    ir = compile_ir(plain)
    with pytest.raises(Refused, match="Task 'use' uses the Kubernetes setting 'sidecar'"):
        read_pipeline(with_setting(ir, {"sidecar": {"a": 1}}))
    with pytest.raises(Refused, match="the platform 'slurm'"):
        read_pipeline(ir + b"\n---\nplatforms: {slurm: {partition: gpu}}")
    with pytest.raises(Refused, match="the pipeline setting 'mutexName'"):
        read_pipeline(with_document(ir, {"pipelineConfig": {"mutexName": "x"}}))


def test_settings_of_the_run(compile_ir):
    config = {
        "activeDeadlineSeconds": 60,
        "resourceTtl": 5,
        "workspace": {"size": "1Gi", "kubernetes": {"pvcSpecPatch": {"accessModes": ["x"]}}},
    }
    pipeline = read_pipeline(with_document(compile_ir(plain), {"pipelineConfig": config}))
    assert (pipeline.has_workspace, pipeline.timeout_s) == (True, 60.0)
    assert len(pipeline.notes) == 3
    assert "resourceTtl" in pipeline.notes[0]


def test_claims_are_named_and_never_cached(compile_ir, tmp_path):
    @dsl.container_component
    def createpvc(
        name: dsl.OutputPath(str), size: str, pvc_name: str = "", pvc_name_suffix: str = ""
    ):
        return dsl.ContainerSpec(image="argostub/createpvc")

    @dsl.container_component
    def deletepvc(pvc_name: str):
        return dsl.ContainerSpec(image="argostub/deletepvc")

    @dsl.pipeline
    def claiming():
        made = createpvc(size="1Gi", pvc_name_suffix="-data")
        deletepvc(pvc_name=made.outputs["name"])

    pipeline = read_pipeline(compile_ir(claiming))
    body = pipeline.components["comp-createpvc"].body
    assert body.function == claim_function("argostub/createpvc")
    assert not pipeline.root.body.tasks["createpvc"].enable_cache
    assert len(pipeline.notes) == 2
    assert run_claim(body.function, tmp_path, pvc_name="mine") == "mine"
    first = run_claim(body.function, tmp_path, pvc_name_suffix="-data", size="1Gi")
    assert first.endswith("-data")
    assert first != run_claim(body.function, tmp_path, pvc_name_suffix="-data")


def run_claim(function, folder, **parameters) -> str:
    """The function, run by the SDK's own executor."""
    module: dict = {}
    exec(compile(function.source, "ephemeral_component.py", "exec"), module)
    file = folder / "name"
    outputs = {"parameters": {"name": {"outputFile": str(file)}}}
    outputs["outputFile"] = str(folder / "executor_output.json")
    executor_input = {"inputs": {"parameterValues": parameters}, "outputs": outputs}
    Executor(executor_input, module[function.function]).execute()
    return file.read_text()
