"""Environment variables, resources and limits, images, TaskConfig."""

import json

import pytest
from kfp import dsl

from seamline.domain.errors import Refused

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def variables(names: list, salt: str = "") -> dict:
    import os

    return {name: os.environ.get(name) for name in names}


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@feature("Environment and resources", "Environment variables of a task (set_env_variable)")
def test_kfp_environment_variables(bench):
    @dsl.pipeline
    def setting():
        first = variables(names=["MODE", "QUOTED", "EMPTY"])
        first.set_env_variable("MODE", "fast").set_env_variable("QUOTED", 'it\'s "é"\n\\')
        first.set_env_variable("EMPTY", "")
        variables(names=["MODE", "QUOTED", "EMPTY"])

    ran = bench.run(setting)
    assert ran.output("variables") == {"MODE": "fast", "QUOTED": 'it\'s "é"\n\\', "EMPTY": ""}
    assert ran.output("variables-2") == {"MODE": None, "QUOTED": None, "EMPTY": None}


@feature("Environment and resources", "A memory limit is enforced: the task fails, and says so")
def test_kfp_a_memory_limit(bench):
    @dsl.component(base_image=IMAGE)
    def take(megabytes: int) -> int:
        return len(bytearray(b"x") * (megabytes * 1_000_000))

    @dsl.pipeline
    def limited():
        take(megabytes=600).set_memory_limit("300M")
        take(megabytes=20).set_memory_limit("300M")

    ran = bench.run(limited)
    assert ran.failed == {"take"} and ran.output("take-2") == 20_000_000
    assert "emory" in json.dumps(ran.error("take"))


@feature("Environment and resources", "CPU and memory requests and limits that this machine has")
def test_kfp_modest_resources(bench):
    @dsl.pipeline
    def modest() -> str:
        task = say(text="a")
        task.set_cpu_request("100m").set_cpu_limit("1")
        task.set_memory_request("64M").set_memory_limit("1Gi")
        return task.output

    ran = bench.run(modest)
    assert ran.result == "a" and "say" not in ran.notes


@feature("Environment and resources", "What this machine lacks is noted on the run", status="noted")
@pytest.mark.parametrize("lacking", ["accelerator", "memory", "cpu"])
def test_kfp_what_this_machine_lacks(bench, lacking):
    @dsl.pipeline
    def demanding() -> str:
        task = say(text="a")
        if lacking == "accelerator":
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
        elif lacking == "memory":
            task.set_memory_request("90T")
        else:
            task.set_cpu_request("9000")
        return task.output

    ran = bench.run(demanding)
    assert ran.result == "a"
    asked = {"accelerator": "2 × nvidia.com/gpu", "memory": "90T", "cpu": "9000"}[lacking]
    assert "say" in ran.notes and asked in ran.notes


@feature("Environment and resources", "…or refused, where the run demands it", status="refused")
def test_kfp_a_run_that_demands_its_resources(bench):
    @dsl.pipeline
    def demanding():
        say(text="a").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)

    with pytest.raises(Refused, match=r"say[\s\S]*nvidia\.com/gpu"):
        bench.run(demanding, demand_resources=True)


@feature("Environment and resources", "Resources from parameters and outputs of tasks")
def test_kfp_resources_from_parameters(bench):
    @dsl.component(base_image=IMAGE)
    def take(megabytes: int) -> int:
        return len(bytearray(b"x") * (megabytes * 1_000_000))

    @dsl.pipeline
    def limited(memory: str):
        take(megabytes=600).set_memory_limit(memory)
        take(megabytes=600).set_memory_limit(say(text="2G").output)

    ran = bench.run(limited, {"memory": "300M"})
    assert ran.failed == {"take"} and ran.output("take-2") == 600_000_000


@feature("Environment and resources", "A limit from a parameter that is no quantity fails the task")
def test_kfp_a_limit_that_is_no_quantity(bench):
    @dsl.pipeline
    def limited(memory: str):
        say(text="a").set_memory_limit(memory)
        say(text="independent")

    ran = bench.run(limited, {"memory": "plenty"})
    assert ran.failed == {"say"} and "say-2" in ran.executed
    assert "plenty" in ran.error("say")["message"]


@feature("Environment and resources", "The image from a parameter (set_container_image)")
def test_kfp_an_image_from_a_parameter(bench):
    @dsl.pipeline
    def imaged(image: str) -> str:
        return say(text="a").set_container_image(image).output

    assert bench.run(imaged, {"image": "python:3.12"}).result == "a"


@feature("Environment and resources", "TaskConfig: a pod's own settings", status="refused")
def test_kfp_task_config(bench):
    """It hands a pod's settings on to another pod that the task makes: there is none here."""

    @dsl.component(base_image=IMAGE)
    def plain(config: dsl.TaskConfig) -> str:
        return repr(config)

    @dsl.component(base_image=IMAGE, task_config_passthroughs=[dsl.TaskConfigField.RESOURCES])
    def passing(config: dsl.TaskConfig) -> str:
        return repr(config)

    for component in (plain, passing):
        with pytest.raises(Refused) as refused:
            bench.run(component)
        assert component.name in refused.value.message
        assert "askConfig" in refused.value.message
