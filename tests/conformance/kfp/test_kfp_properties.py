"""On generated values and pipelines: conditions are Python's, data flow is right, order is free."""

import operator
from typing import Any, Dict, List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl

IMAGE = "python:3.11"
feature = pytest.mark.feature
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: `bench` is one engine for all tests and examples, and means to be.
quick = settings(
    deadline=None,
    max_examples=10 if settings.default.derandomize else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
#: All that can be sent as JSON; the ends and what looks like code come often.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.text("'\"\\ &|=!<>(){}$[]ab\n", max_size=8),
    st.sampled_from(["true", "null", "1", "it's", "' || true || '", "{{$.x}}", "\\'", "int(1)"]),
)
wholes = st.one_of(st.integers(-3, 3), st.integers(-(2**53) + 1, 2**53 - 1))
reals = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.30000000000000004, 1.0, 1e300, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
)


@dsl.component(base_image=IMAGE)
def mark(sign: str) -> str:
    return sign


@dsl.component(base_image=IMAGE)
def add(n: int, by: int) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def total(numbers: List[int]) -> int:
    return sum(numbers)


def held(left: Any, right: Any) -> list[str]:
    return sorted(sign for sign, holds in OPERATORS.items() if holds(left, right))


def marked(ran, below: str) -> list[str]:
    """The signs of the branches that ran in a group."""
    return sorted(ran.output(name) for name in ran.executed if name.startswith(f"{below}/"))


def branches(left: Any, right: Any) -> None:
    for sign, compare in OPERATORS.items():
        with dsl.If(compare(left, right)):
            mark(sign=sign)


def pairs(value: st.SearchStrategy) -> st.SearchStrategy:
    """Equal ones often: two random texts hardly ever are."""
    same = value.map(lambda one: {"left": one, "right": one})
    pair = st.one_of(st.fixed_dictionaries({"left": value, "right": value}), same)
    return st.lists(pair, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def comparing() -> dict[type, Any]:
    """By type: a loop over pairs, one branch per operator."""

    @dsl.pipeline
    def of_texts(rows: List[Dict[str, str]]):
        with dsl.ParallelFor(rows) as row:
            branches(row.left, row.right)

    @dsl.pipeline
    def of_wholes(rows: List[Dict[str, int]]):
        with dsl.ParallelFor(rows) as row:
            branches(row.left, row.right)

    @dsl.pipeline
    def of_reals(rows: List[Dict[str, float]]):
        with dsl.ParallelFor(rows) as row:
            branches(row.left, row.right)

    return {str: of_texts, int: of_wholes, float: of_reals}


def check_pairs(bench, pipeline, rows) -> None:
    ran = bench.run(pipeline, {"rows": rows})
    assert ran.state == "succeeded", ran.shown["sentence"]
    for i, row in enumerate(rows):
        assert marked(ran, f"for-loop-1[{i}]") == held(row["left"], row["right"]), row


@feature("Conditions", "On generated values, every operator is Python's: texts")
@quick
@given(rows=pairs(texts))
def test_kfp_generated_texts(bench, comparing, rows):
    check_pairs(bench, comparing[str], rows)


@feature("Conditions", "On generated values, every operator is Python's: integers")
@quick
@given(rows=pairs(wholes))
def test_kfp_generated_integers(bench, comparing, rows):
    check_pairs(bench, comparing[int], rows)


@feature("Conditions", "On generated values, every operator is Python's: floats")
@quick
@given(rows=pairs(reals))
def test_kfp_generated_floats(bench, comparing, rows):
    check_pairs(bench, comparing[float], rows)


#: Constants stand in the IR's conditions as they are: what reads like a comparison cannot be told.
constants = texts.filter(lambda text: "inputs.parameter_values" not in text)


@feature("Conditions", "On generated constants, every operator is Python's")
@quick
@given(constant=st.one_of(constants, wholes, reals), value=st.data())
def test_kfp_generated_constants(bench, constant, value):
    """Compiled anew for each constant; against itself and against another value of its type."""
    kind = type(constant)
    other = value.draw({str: texts, int: wholes, float: reals}[kind])

    @dsl.pipeline
    def of_texts(same: str, other: str):
        compare_both(same, other, constant)

    @dsl.pipeline
    def of_wholes(same: int, other: int):
        compare_both(same, other, constant)

    @dsl.pipeline
    def of_reals(same: float, other: float):
        compare_both(same, other, constant)

    pipeline = {str: of_texts, int: of_wholes, float: of_reals}[kind]
    ran = bench.run(pipeline, {"same": constant, "other": other})
    said = sorted(ran.output(name) for name in ran.executed)
    expected = [f"same {sign}" for sign in held(constant, constant)]
    expected += [f"other {sign}" for sign in held(other, constant)]
    assert said == sorted(expected)


def compare_both(same: Any, other: Any, constant: Any) -> None:
    for sign, compare in OPERATORS.items():
        with dsl.If(compare(same, constant)):
            mark(sign=f"same {sign}")
        with dsl.If(compare(other, constant)):
            mark(sign=f"other {sign}")


# -- data flow ---------------------------------------------------------------------------------
@dsl.pipeline
def plus_two(n: int) -> int:
    return add(n=add(n=n, by=1).output, by=1).output


@st.composite
def programs(draw: st.DrawFn) -> list[tuple]:
    """Steps that each make an integer from those before: (kind, operands…)."""
    steps: list[tuple] = []
    for at in range(draw(st.integers(1, 6))):
        before = st.integers(0, at)  # 0: the argument; n: the result of step n
        kind = draw(st.sampled_from(["add", "loop", "choose", "nested", "text"]))
        if kind == "loop":
            items = draw(st.lists(st.integers(-9, 9), min_size=1, max_size=3))
            steps.append((kind, draw(before), tuple(items)))
        else:
            steps.append((kind, draw(before), draw(before), draw(before)))
    return steps


def expected_values(steps: list[tuple], argument: int) -> list[int]:
    values = [argument]
    for kind, a, *rest in steps:
        if kind == "loop":
            values.append(sum(item + values[a] for item in rest[0]))
        elif kind == "choose":
            values.append(values[rest[1]] + (1 if values[a] > values[rest[0]] else -1))
        elif kind == "nested":
            values.append(values[a] + 2)
        else:
            values.append(values[a] + values[rest[0]])
    return values


@dsl.component(base_image=IMAGE)
def add_texts(text: str) -> int:
    return sum(int(word) for word in text.split(" and "))


def build(steps: list[tuple]) -> Any:
    @dsl.pipeline(name="generated")
    def generated(n: int) -> int:
        values: list[Any] = [n]
        for kind, a, *rest in steps:
            first = values[a]
            if kind == "loop":
                with dsl.ParallelFor(list(rest[0])) as item:
                    each = add(n=item, by=first)
                made = total(numbers=dsl.Collected(each.output)).output
            elif kind == "choose":
                with dsl.If(first > values[rest[0]]):
                    more = add(n=values[rest[1]], by=1)
                with dsl.Else():
                    less = add(n=values[rest[1]], by=-1)
                # What is chosen goes through a task: a OneOf of a OneOf does not compile.
                made = add(n=dsl.OneOf(more.output, less.output), by=0).output
            elif kind == "nested":
                made = plus_two(n=first).output
            elif kind == "text":
                made = add_texts(text=f"{first} and {values[rest[0]]}").output
            else:
                made = add(n=first, by=values[rest[0]]).output
            values.append(made)
        return add(n=values[-1], by=0).output

    return generated


@pytest.fixture(scope="module")
def serial_bench(make_bench):
    return make_bench(1)


def told(ran) -> dict[str, Any]:
    """All that a run says of its tasks but for times, processes and identities."""
    return {
        name: (task["state"], task["kind"], task["items"], task["outputs"]["parameters"])
        for name, task in ran.tasks.items()
    }


@feature("Data flow", "Generated pipelines give what Python gives, in series and in parallel")
@quick
@given(steps=programs(), argument=st.integers(-5, 5))
def test_kfp_generated_pipelines(bench, serial_bench, steps, argument):
    pipeline = bench.compile(build(steps))
    parallel = bench.run(pipeline, {"n": argument})
    serial = serial_bench.run(pipeline, {"n": argument})
    assert parallel.state == serial.state == "succeeded"
    assert parallel.result == serial.result == expected_values(steps, argument)[-1]
    assert told(parallel) == told(serial)
