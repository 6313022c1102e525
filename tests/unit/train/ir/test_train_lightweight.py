"""What the SDK compiles a function into, and what is taken out of it again."""

import json
import sys

import pytest
from kfp import dsl

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir.lightweight import PythonFunction, recognise_function
from seamline.train.ir.reader import read_pipeline

IMAGE = "python:3.11"


def function_in(ir: bytes):
    return read_pipeline(ir).components["comp-work"].body.function


def component(**options):
    @dsl.component(base_image=IMAGE, **options)
    def work(n: int) -> int:
        return n + 1

    return work


@pytest.mark.parametrize(
    ("options", "requirements"),
    [
        ({}, ()),
        ({"install_kfp_package": False}, ()),
        ({"packages_to_install": ["numpy>=2,<3", "scikit-learn"]}, ("numpy>=2,<3", "scikit-learn")),
        ({"packages_to_install": ["six"], "install_kfp_package": False}, ("six",)),
        ({"packages_to_install": ["kfp==2.9.0", "six"]}, ("kfp==2.9.0", "six")),
        ({"packages_to_install": ['six; python_version < "3.12"']},
         ('six; python_version < "3.12"',)),
        ({"packages_to_install": ["polars"], "use_venv": True}, ("polars",)),
    ],
)  # fmt: skip
def test_requirements_are_what_the_author_asked_for(compile_ir, options, requirements):
    function = function_in(compile_ir(component(**options)))
    assert function.requirements == requirements
    assert function.function == "work"
    assert "def work(n: int) -> int:" in function.source
    assert function.index_urls == ()


def test_index_urls_are_kept(compile_ir):
    options = {"packages_to_install": ["six"], "pip_index_urls": ["https://one.example/simple"]}
    function = function_in(compile_ir(component(**options)))
    assert function.index_urls == ("https://one.example/simple",)
    assert function.requirements == ("six",)

    one, two = "https://one.example/simple", "https://two.example/simple"
    several = component(packages_to_install=["six"], pip_index_urls=[one, two])
    with pytest.raises(Refused, match="Task 'work' uses more than one package index"):
        read_pipeline(compile_ir(several))


@pytest.mark.parametrize(
    ("hosts", "kept"),
    [(None, ()), ([], ()), (["one.example"], ("one.example",)), (["a", "b"], ("a", "b"))],
)
def test_trusted_hosts_are_noted(compile_ir, hosts, kept):
    options = {
        "packages_to_install": ["six", "kfp-kubernetes==2.0"],
        "pip_index_urls": ["https://one.example/simple"],
        "pip_trusted_hosts": hosts,
    }
    pipeline = read_pipeline(compile_ir(component(**options)))
    function = pipeline.components["comp-work"].body.function
    assert function.requirements == ("six", "kfp-kubernetes==2.0")
    assert function.index_urls == ("https://one.example/simple",)
    assert function.trusted_hosts == kept
    expected = f"exec-work: trusted hosts ({', '.join(kept)}) have no effect"
    assert [note.startswith(expected) for note in pipeline.notes] == ([True] if kept else [])


@pytest.mark.parametrize("options", [{"use_venv": True}, {"use_venv": True, "install": False}, {}])
def test_requirements_with_markers_and_quotes(compile_ir, options):
    install = options.pop("install", True)
    wanted = ["it's @ file:///x", 'tomli>=1; python_version < "3.11"', "a[b,c]>1,<2"]
    made = component(packages_to_install=wanted, install_kfp_package=install, **options)
    assert function_in(compile_ir(made)).requirements == tuple(wanted)


def test_a_chosen_kfp_is_a_requirement(compile_ir):
    made = component(kfp_package_path="git+https://git.example/kfp")
    assert function_in(compile_ir(made)).requirements == ("git+https://git.example/kfp",)


def helper(n: int) -> int:
    return n + 41


def test_embedded_files_and_helpers_are_in_the_source(compile_ir, tmp_path, monkeypatch):
    folder = tmp_path / "assets"
    folder.mkdir()
    (folder / "module_of_mine.py").write_text("ANSWER = 42")

    @dsl.component(base_image=IMAGE, embedded_artifact_path=str(folder), additional_funcs=[helper])
    def work(n: int) -> int:
        import module_of_mine

        return helper(n) + module_of_mine.ANSWER

    function = function_in(compile_ir(work))
    assert function.function == "work"
    monkeypatch.setattr(sys, "path", list(sys.path))
    module: dict = {}
    exec(compile(function.source, "ephemeral_component.py", "exec"), module)
    with module["__kfp_tmpdir"]:
        assert module["work"](0) == 83
    del sys.modules["module_of_mine"]


def test_notebooks_are_functions_too(compile_ir, tmp_path):
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps(notebook))

    @dsl.notebook_component(notebook_path=str(path), base_image=IMAGE)
    def work(n: int) -> int:
        dsl.run_notebook(n=n)
        return n

    function = function_in(compile_ir(work))
    assert function.function == "work"
    assert function.requirements[0].startswith("nbclient")
    assert "train.ipynb" in function.source


def test_a_component_baked_into_an_image_is_a_container(compile_ir):
    body = (
        read_pipeline(compile_ir(component(target_image="team/work:1")))
        .components["comp-work"]
        .body
    )
    assert (body.function, body.image) == (None, "team/work:1")
    assert body.command == ("python3", "-m", "kfp.dsl.executor_main")
    assert body.args == ("--executor_input", "{{$}}", "--function_to_execute", "work")


@pytest.mark.parametrize("args", [[], ["--function_to_execute"], ["--function_to_execute", "a b"]])
def test_functions_without_a_name_are_refused(args):
    script = 'printf > "$program_path/ephemeral_component.py"; python3 -m kfp.dsl.executor_main'
    with pytest.raises(InvalidInput, match="function"):
        recognise_function(["sh", "-ec", script, "def f(): pass"], args)


def test_other_containers_are_not_recognised():
    assert recognise_function(["python3", "-m", "kfp.dsl.executor_main"], []) is None
    assert recognise_function(["sh", "-c", "echo x"], []) is None
    assert recognise_function([], []) is None


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import os\nfrom kfp import dsl\ndef f(): ...", False),
        ("def f():\n    import json, os.path as p\n    from typing import *\n", False),
        ("def f():\n    import json, numpy as np\n", True),
        ("def f():\n\tfrom sklearn.linear_model import Ridge\n", True),
        ("def f():\n    import pickle\n", True),  # It loads whatever it finds.
        ("def f():\n    return 'import of numpy'\n", False),
    ],
)
def test_libraries_are_told_by_import_statements(source, imports):
    assert PythonFunction(source, "f", ()).imports_libraries is imports
