import pytest
from kfp import dsl
from seamline.train.options import *
from seamline.train.runs import show_run
IMAGE="python:3.11"

@dsl.component(base_image=IMAGE)
def surrogate(text: str) -> str:
    raise ValueError("bad \udcff name \0 end")

@dsl.component(base_image=IMAGE)
def deep(n: int) -> list:
    value = []
    for _ in range(n):
        value = [value]
    return value

@dsl.component(base_image=IMAGE)
def take(xs: list) -> int:
    return len(xs)

@dsl.component(base_image=IMAGE)
def text(n: int, out: dsl.OutputPath(list)):
    open(out,"w").write("[" * n + "]" * n)

@dsl.component(base_image=IMAGE)
def surro() -> str:
    return "a\udcffb"

@dsl.component(base_image=IMAGE)
def echo(s: str) -> str:
    return s

@dsl.pipeline
def p_sur():
    surrogate(text="x")
@dsl.pipeline
def p_deep(n: int):
    take(xs=deep(n=n).output)
@dsl.pipeline
def p_text(n: int):
    with dsl.ParallelFor(text(n=n).outputs['out']) as item:
        take(xs=item)
@dsl.pipeline
def p_surro():
    echo(s=surro().output)

def show(house, run_id):
    try:
        shown = house.finish(run_id)
    except AssertionError:
        print("HANGS"); return
    print(shown["state"], shown["sentence"][:300], {t["name"]: t["state"] for t in shown["tasks"]})

@pytest.mark.parametrize("n", [100, 300,450,480, 600, 900, 3000])
def test_deep(house, compile_ir, n):
    house.wait_for.__func__.__defaults__=(6.0,)
    show(house, house.request(compile_ir(p_deep), n=n))
@pytest.mark.parametrize("n", [300,  600, 990, 50000])
def test_text(house, compile_ir, n):
    house.wait_for.__func__.__defaults__=(6.0,)
    ir=compile_ir(p_text); assert ir.count(b"parameterType: LIST")==3
    ir=ir.replace(b"out:\n          parameterType: LIST", b"out:\n          parameterType: STRING"); assert ir.count(b"parameterType: LIST")==2
    show(house, house.request(ir, n=n))
def test_sur(house, compile_ir):
    show(house, house.request(compile_ir(p_sur)))
def test_surro(house, compile_ir):
    show(house, house.request(compile_ir(p_surro)))
