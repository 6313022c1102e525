"""Pipelines that the tests of this folder compile with the stock SDK."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11")
def add(a: int, b: int = 1) -> int:
    return a + b


@dsl.component(base_image="python:3.11")
def write(rows: int, table: Output[Dataset]):
    from pathlib import Path

    Path(table.path).write_text("row\n" * rows)


@dsl.component(base_image="python:3.11")
def count(table: Input[Dataset]) -> int:
    from pathlib import Path

    return len(Path(table.path).read_text().splitlines())


@dsl.component(base_image="python:3.11")
def fail_until(flag: str) -> str:
    from pathlib import Path

    if not Path(flag).exists():
        raise LookupError("the flag is not there")
    return "there"


@dsl.component(base_image="python:3.11")
def hold_until(flag: str):
    import time
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(flag).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


@dsl.pipeline(name="sums")
def sums(n: int = 1):
    add(a=add(a=n).output, b=2)


@dsl.pipeline(name="tables")
def tables(rows: int = 3):
    made = write(rows=rows)
    with dsl.ParallelFor([1, 2]) as item:
        add(a=count(table=made.outputs["table"]).output, b=item)


@dsl.pipeline(name="flaky")
def flaky(flag: str):
    hold_until(flag="/").after(fail_until(flag=flag))


@dsl.pipeline(name="holding")
def holding(flag: str):
    hold_until(flag=flag)
