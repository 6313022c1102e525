"""What kfp-kubernetes says of a task: timeouts, secrets, volumes, the workspace, placement.

The second document is written here as kfp-kubernetes 2.17 writes it: numbers as texts, names twice.
"""

import json
import re

import pytest
import yaml
from kfp import dsl

from seamline.domain.errors import SeamlineError
from seamline.trust.secrets import SecretKind, set_values

IMAGE = "python:3.11"
feature = pytest.mark.feature
#: Seconds; the first of them is enough where a machine has nothing else to do.
PATIENCE = (1, 10, 60)


@dsl.component(base_image=IMAGE)
def variables(names: list, salt: str = "") -> dict:
    import os

    return {name: os.environ.get(name) for name in names}


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def wait(path: str):
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.01)


@dsl.component(base_image=IMAGE)
def write_file(path: str, text: str):
    from pathlib import Path

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@dsl.component(base_image=IMAGE)
def read_file(path: str) -> str:
    from pathlib import Path

    return Path(path).read_text() if Path(path).exists() else "nothing"


def on_kubernetes(ir: bytes, executors: dict | None = None, config: dict | None = None) -> bytes:
    """The compiled pipeline with a platform document: executor label → settings."""
    document = {"deploymentSpec": {"executors": executors or {}}}
    if config:
        document["pipelineConfig"] = config
    return ir + b"\n---\n" + yaml.safe_dump({"platforms": {"kubernetes": document}}).encode()


@feature("Kubernetes settings", "A task's timeout (set_timeout): its processes are killed")
def test_kfp_a_task_timeout(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def hang(path: str):
        """Its child would outlive it, and writes down who it is."""
        import subprocess
        import time
        from pathlib import Path

        child = subprocess.Popen(["sleep", "600"])
        Path(path).write_text(str(child.pid))
        time.sleep(600)

    @dsl.pipeline
    def hanging(path: str):
        say(text="after").after(hang(path=path))
        say(text="independent")

    for seconds in PATIENCE:
        deadline = {"activeDeadlineSeconds": f"{seconds}"}
        ir = on_kubernetes(bench.compile(hanging), {"exec-hang": deadline})
        ran = bench.run(ir, {"path": str(tmp_path / "child")})
        if (tmp_path / "child").exists():
            break
    assert ran.failed == {"hang"} and ran.upstream_failed == {"say"}
    assert ran.executed == {"hang", "say-2"}
    assert re.search(rf"\b{seconds} s", ran.error("hang")["message"]), "how long it might take"
    child = int((tmp_path / "child").read_text())
    bench.wait_until(lambda: not is_alive(f"/proc/{child}/stat"))


def is_alive(stat: str) -> bool:
    try:
        with open(stat) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@feature("Kubernetes settings", "A timeout with retries: each attempt has its own time")
def test_kfp_a_timeout_with_retries(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def hang_once(path: str) -> str:
        import time
        from pathlib import Path

        if not Path(path).exists():
            Path(path).touch()
            time.sleep(600)
        return "done"

    @dsl.pipeline
    def retried(path: str) -> str:
        return hang_once(path=path).set_retry(1, backoff_duration="0s").output

    for seconds in PATIENCE:
        deadline = {"activeDeadlineSeconds": f"{seconds}"}
        ir = on_kubernetes(bench.compile(retried), {"exec-hang-once": deadline})
        ran = bench.run(ir, {"path": str(tmp_path / f"there-{seconds}")})
        if ran.state == "succeeded":
            break
    assert ran.result == "done" and ran.tasks["hang-once"]["attempt"] == 2


@feature("Kubernetes settings", "A timeout of the whole run (activeDeadlineSeconds)")
def test_kfp_a_run_timeout(bench, tmp_path):
    @dsl.pipeline
    def waiting(path: str):
        first = say(text="first")
        say(text="last").after(wait(path=path).after(first))

    for seconds in PATIENCE:
        ir = on_kubernetes(bench.compile(waiting), config={"activeDeadlineSeconds": f"{seconds}"})
        ran = bench.run(ir, {"path": str(tmp_path / "never")})
        if "wait" in ran.failed:
            break
    assert ran.state in ("failed", "partially_failed")
    assert "say" in ran.executed and "wait" in ran.failed and "say-2" not in ran.executed
    assert f"{seconds} s" in ran.shown["sentence"]


def secret(name: str, **keys: str) -> dict:
    return {
        "secretName": name,
        "secretNameParameter": {"runtimeValue": {"constant": name}},
        "keyToEnv": [{"secretKey": key, "envVar": variable} for key, variable in keys.items()],
        "optional": False,
    }


def config_map(name: str, **keys: str) -> dict:
    return {
        "configMapName": name,
        "configMapNameParameter": {"runtimeValue": {"constant": name}},
        "keyToEnv": [{"configMapKey": key, "envVar": variable} for key, variable in keys.items()],
        "optional": False,
    }


@feature("Kubernetes settings", "Secrets and config maps as environment variables")
def test_kfp_secrets_as_variables(bench):
    set_values(
        bench.stores, "dataops", SecretKind.SECRET, "kfp-db",
        {"password": b"s3cret-\xc3\xa9", "user": b"ana"}, by="me",
    )  # fmt: skip
    set_values(
        bench.stores, "dataops", SecretKind.CONFIG_MAP, "kfp-app", {"level": b"debug"}, by="me"
    )

    @dsl.pipeline
    def using(which: str = "kfp-db"):
        variables(names=["PASSWORD", "LEVEL"])
        variables(names=["USER_NAME", "PASSWORD"])

    ir = on_kubernetes(
        bench.compile(using),
        {
            "exec-variables": {
                "secretAsEnv": [secret("kfp-db", password="PASSWORD")],
                "configMapAsEnv": [config_map("kfp-app", level="LEVEL")],
            },
            "exec-variables-2": {
                "secretAsEnv": [
                    {
                        "secretNameParameter": {"componentInputParameter": "which"},
                        "keyToEnv": [{"secretKey": "user", "envVar": "USER_NAME"}],
                        "optional": False,
                    }
                ]
            },
        },
    )
    ran = bench.run(ir)
    assert ran.output("variables") == {"PASSWORD": "s3cret-é", "LEVEL": "debug"}
    assert ran.output("variables-2") == {"USER_NAME": "ana", "PASSWORD": None}
    assert "s3cret" not in json.dumps([task["inputs"] for task in ran.tasks.values()])


@feature("Kubernetes settings", "A secret that is missing fails its task; an optional one does not")
def test_kfp_missing_secrets(bench):
    @dsl.pipeline
    def using():
        variables(names=["A"])
        variables(names=["A"])
        say(text="independent")

    missing = secret("kfp-none", key="A")
    ir = on_kubernetes(
        bench.compile(using),
        {
            "exec-variables": {"secretAsEnv": [missing]},
            "exec-variables-2": {"secretAsEnv": [{**missing, "optional": True}]},
        },
    )
    ran = bench.run(ir)
    assert ran.failed == {"variables"} and "kfp-none" in ran.error("variables")["message"]
    assert ran.output("variables-2") == {"A": None} and "say" in ran.executed


@feature("Kubernetes settings", "Secrets and config maps as files")
def test_kfp_secrets_as_files(bench):
    set_values(
        bench.stores, "dataops", SecretKind.SECRET, "kfp-files", {"token.txt": b"t0ken"}, by="me"
    )

    @dsl.pipeline
    def using() -> str:
        return read_file(path="/mnt/kfp-secret/token.txt").output

    mount = {
        "secretName": "kfp-files",
        "secretNameParameter": {"runtimeValue": {"constant": "kfp-files"}},
        "mountPath": "/mnt/kfp-secret",
        "optional": False,
    }
    ir = on_kubernetes(bench.compile(using), {"exec-read-file": {"secretAsVolume": [mount]}})
    assert bench.run(ir).result == "t0ken"


@feature("Kubernetes settings", "Volumes of claims: directories that outlive a run")
def test_kfp_claims(bench):
    @dsl.pipeline
    def sharing(text: str, claim: str = "kfp-shared") -> str:
        written = write_file(path="/kfp-data/deep/a.txt", text=text)
        return read_file(path="/kfp-data/deep/a.txt").after(written).output

    @dsl.pipeline
    def reading(claim: str = "kfp-shared") -> str:
        return read_file(path="/kfp-data/deep/a.txt").output

    constant = {
        "constant": "kfp-shared",
        "mountPath": "/kfp-data",
        "pvcNameParameter": {"runtimeValue": {"constant": "kfp-shared"}},
    }
    by_name = {
        "componentInputParameter": "claim",
        "mountPath": "/kfp-data",
        "pvcNameParameter": {"componentInputParameter": "claim"},
    }
    ran = bench.run(
        on_kubernetes(
            bench.compile(sharing),
            {
                "exec-write-file": {"pvcMount": [constant]},
                "exec-read-file": {"pvcMount": [by_name]},
            },
        ),
        {"text": "kept"},
    )
    assert ran.result == "kept"
    later = on_kubernetes(bench.compile(reading), {"exec-read-file": {"pvcMount": [by_name]}})
    assert bench.run(later).result == "kept"
    assert bench.run(later, {"claim": "kfp-another"}).result == "nothing"


@feature(
    "Kubernetes settings", "Claims that a pipeline makes (CreatePVC, DeletePVC)", status="noted"
)
def test_kfp_dynamic_claims(bench):
    """kfp-kubernetes compiles them to images that Kubeflow's own driver stands in for."""

    @dsl.container_component
    def createpvc(pvc_name_suffix: str, access_modes: list, size: str, name: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="argostub/createpvc")

    @dsl.container_component
    def deletepvc(pvc_name: str):
        return dsl.ContainerSpec(image="argostub/deletepvc")

    @dsl.pipeline
    def claiming() -> str:
        made = createpvc(pvc_name_suffix="-mine", access_modes=["ReadWriteOnce"], size="1Gi")
        written = write_file(path="/kfp-claim/a.txt", text="kept").after(made)
        found = read_file(path="/kfp-claim/a.txt").after(written)
        deletepvc(pvc_name=made.outputs["name"]).after(found)
        return found.output

    output = {"taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"}}
    mount = {"pvcMount": [{**output, "mountPath": "/kfp-claim", "pvcNameParameter": output}]}
    ir = on_kubernetes(bench.compile(claiming), {"exec-write-file": mount, "exec-read-file": mount})
    first, second = bench.run(ir, cache=None), bench.run(ir, cache=None)
    assert first.result == second.result == "kept"
    names = {ran.output("createpvc", "name") for ran in (first, second)}
    assert len(names) == 2 and all(name.endswith("-mine") for name in names)
    assert "size" in first.notes and "deletepvc" in first.notes


@feature("Kubernetes settings", "Empty directories, of one task alone")
def test_kfp_empty_directories(bench):
    @dsl.component(base_image=IMAGE)
    def use(path: str) -> int:
        from pathlib import Path

        assert list(Path(path).iterdir()) == []
        Path(path, "a").write_text("abc")
        return len(list(Path(path).iterdir()))

    @dsl.pipeline
    def using():
        use(path="/kfp-scratch").after(use(path="/kfp-scratch"))

    mount = {"emptyDirMounts": [{"mountPath": "/kfp-scratch", "volumeName": "scratch"}]}
    ir = on_kubernetes(bench.compile(using), {"exec-use": mount, "exec-use-2": mount})
    ran = bench.run(ir)
    assert (ran.output("use"), ran.output("use-2")) == (1, 1)


@feature("Kubernetes settings", "A workspace that all tasks of a run share (PipelineConfig)")
def test_kfp_a_workspace(bench):
    config = dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"))

    @dsl.pipeline(pipeline_config=config)
    def working(text: str) -> str:
        path = f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/deep/a.txt"
        before = read_file(path=path)
        written = write_file(path=path, text=text).after(before)
        return read_file(path=path).after(written).output

    for text in ("one", "two"):
        ran = bench.run(working, {"text": text})
        assert ran.result == text
        assert ran.output("read-file") == "nothing", "another run's workspace"


@feature("Kubernetes settings", "Importers into the workspace (download_to_workspace)")
def test_kfp_import_into_the_workspace(bench, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    config = dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"))

    @dsl.component(base_image=IMAGE)
    def read(data: dsl.Input[dsl.Dataset]) -> str:
        with open(data.path) as file:
            return file.read()

    @dsl.pipeline(pipeline_config=config)
    def importing(path: str) -> str:
        found = dsl.importer(
            artifact_uri=path, artifact_class=dsl.Dataset, download_to_workspace=True
        )
        return read(data=found.output).output

    assert bench.run(importing, {"path": str(tmp_path / "a.txt")}).result == "hello"


@feature("Kubernetes settings", "Names of the pod as variables: the run's and the task's")
def test_kfp_field_paths(bench):
    @dsl.pipeline
    def using() -> dict:
        return variables(names=["POD", "RUN", "NODE"]).output

    paths = [
        {"name": "POD", "fieldPath": "metadata.name"},
        {"name": "RUN", "fieldPath": "metadata.labels['pipeline/runid']"},
        {"name": "NODE", "fieldPath": "spec.nodeName"},
    ]
    ir = on_kubernetes(bench.compile(using), {"exec-variables": {"fieldPathAsEnv": paths}})
    ran = bench.run(ir)
    assert ran.id in ran.result["RUN"] and "variables" in ran.result["POD"]
    assert ran.result["NODE"] is None and "NODE" in ran.notes


@feature("Kubernetes settings", "Placement on a cluster has no effect", status="noted")
def test_kfp_placement(bench):
    @dsl.pipeline
    def placed() -> str:
        return say(text="a").output

    settings = {
        "nodeSelector": {"labels": {"a": "b"}},
        "tolerations": [{"key": "a", "operator": "Equal", "value": "b"}],
        "podMetadata": {"labels": {"a": "b"}},
        "imagePullPolicy": "Always",
        "imagePullSecret": [{"secretName": "x"}],
        "nodeAffinity": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
    }
    ran = bench.run(on_kubernetes(bench.compile(placed), {"exec-say": settings}))
    assert ran.result == "a"
    assert [name for name in settings if name not in ran.notes] == [] and "say" in ran.notes


@feature("Kubernetes settings", "A setting that nobody knows is refused", status="refused")
@pytest.mark.parametrize(
    ("executors", "config", "said"),
    [
        ({"exec-say": {"initContainers": [{"image": "x"}]}}, None, "initContainers"),
        (None, {"semaphoreKey": "x"}, "semaphoreKey"),
    ],
)
def test_kfp_unknown_settings(bench, executors, config, said):
    @dsl.pipeline
    def unknown():
        say(text="a")

    with pytest.raises(SeamlineError, match=said):
        bench.run(on_kubernetes(bench.compile(unknown), executors, config))


@feature("Kubernetes settings", "Another platform than Kubernetes is refused", status="refused")
def test_kfp_another_platform(bench):
    @dsl.pipeline
    def elsewhere():
        say(text="a")

    ir = bench.compile(elsewhere) + b"\n---\nplatforms:\n  mainframe:\n    deploymentSpec: {}\n"
    with pytest.raises(SeamlineError, match="mainframe"):
        bench.run(ir)
