"""What the SDK compiles a function into, and what is taken out of it again."""

import pytest
from kfp import dsl

from seamline.train.ir_reader import read_pipeline
from seamline.train.lightweight import recognise_function

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


def test_other_containers_are_not_recognised():
    assert recognise_function(["python3", "-m", "kfp.dsl.executor_main"], []) is None
    assert recognise_function(["sh", "-c", "echo x"], []) is None
    assert recognise_function([], []) is None
