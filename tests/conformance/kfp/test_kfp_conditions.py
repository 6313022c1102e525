"""Conditions: every operator and type, branches, nesting, and values that look like code."""

import operator

import pytest
import yaml
from kfp import dsl

from seamline.domain.errors import InvalidInput

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


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def say_flag(flag: bool) -> bool:
    return flag


@dsl.component(base_image=IMAGE)
def say_float(real: float) -> float:
    return real


def words(ran) -> set[str]:
    """The constants that the executed `say` tasks of branches were given."""
    done = [ran.tasks[name] for name in ran.executed if "/" in name]
    return {task["outputs"]["parameters"]["Output"] for task in done}


def held(*pairs) -> set[str]:
    """`sign` for each operator that holds in Python between two values."""
    left, right = pairs
    return {sign for sign, holds in OPERATORS.items() if holds(left, right)}


def triggered_by(left, right) -> None:
    """One branch per operator; inside a pipeline function."""
    for sign, compare in OPERATORS.items():
        with dsl.If(compare(left, right)):
            say(text=sign)


@feature("Conditions", "All operators between two values from data: strings")
@pytest.mark.parametrize(
    ("left", "right"),
    [("a", "a"), ("a", "b"), ("b", "a"), ("A", "a"), ("", " "), ("é", "z"), ("\uffff", "🚀"),
     ("10", "9"), ("a", "a ")],
)  # fmt: skip
def test_kfp_operators_on_strings(bench, left, right):
    @dsl.pipeline
    def strings(left: str, right: str):
        triggered_by(left, say(text=right).output)

    ran = bench.run(strings, {"left": left, "right": right})
    assert words(ran) == held(left, right)
    assert len(ran.not_triggered) == 6 - len(held(left, right))
    assert ran.state == "succeeded"


@feature("Conditions", "All operators between two values from data: integers, floats, booleans")
@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1), (1, 2), (-1, 1), (0, -0), (2**53 - 1, 2**53 - 2), (10, 9)],
)
def test_kfp_operators_on_integers(bench, left, right):
    @dsl.pipeline
    def integers(left: int, right: int):
        triggered_by(left, add(n=right, by=0).output)

    assert words(bench.run(integers, {"left": left, "right": right})) == held(left, right)


@feature("Conditions", "All operators between two values from data: integers, floats, booleans")
@pytest.mark.parametrize(
    ("left", "right"),
    [(0.1 + 0.2, 0.3), (1.0, 1), (-0.0, 0), (1e308, 1e-308), (2.5, 2), (2, 2.5)],
)
def test_kfp_operators_on_floats_and_integers(bench, left, right):
    @dsl.pipeline
    def floats(left: float, right: float, whole: int):
        triggered_by(left, say_float(real=right).output)
        with dsl.If(left > whole):
            say(text="more")

    ran = bench.run(floats, {"left": left, "right": right, "whole": int(right)})
    assert words(ran) - {"more"} == held(left, right)
    assert ("more" in words(ran)) == (left > int(right))


@feature("Conditions", "All operators between two values from data: integers, floats, booleans")
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("right", [True, False])
def test_kfp_operators_on_booleans(bench, left, right):
    @dsl.pipeline
    def flags(left: bool, right: bool):
        with dsl.If(left == say_flag(flag=right).output):
            say(text="==")
        with dsl.If(left != right):
            say(text="!=")
        with dsl.If(left == True):
            say(text="true")
        with dsl.If(left == False):
            say(text="false")

    expected = {"==" if left == right else "!=", "true" if left else "false"}
    assert words(bench.run(flags, {"left": left, "right": right})) == expected


@feature("Conditions", "Constants on either side")
def test_kfp_constants_on_either_side(bench):
    @dsl.pipeline
    def sides(n: int, real: float, text: str):
        with dsl.If(n == 3):
            say(text="n is 3")
        with dsl.If(3 < n):
            say(text="3 < n")
        with dsl.If(n >= -1):
            say(text="n >= -1")
        with dsl.If(real < 1e-3):
            say(text="tiny")
        with dsl.If(real == 2):
            say(text="real is 2")
        with dsl.If("m" <= text):
            say(text="late")
        with dsl.If(text == ""):
            say(text="empty")

    ran = bench.run(sides, {"n": 3, "real": 2.0, "text": "zoo"})
    assert words(ran) == {"n is 3", "n >= -1", "real is 2", "late"}
    ran = bench.run(sides, {"n": 4, "real": 0.0005, "text": ""})
    assert words(ran) == {"3 < n", "n >= -1", "tiny", "empty"}
    ran = bench.run(sides, {"n": -2, "real": -5, "text": "a"})
    assert words(ran) == {"tiny"}


@feature("Conditions", "Values of different types: compared as texts, or as numbers, as compiled")
def test_kfp_operators_on_mixed_types(bench):
    @dsl.pipeline
    def mixed(n: int, text: str, flag: bool, real: float):
        with dsl.If(n == "3"):
            say(text="n as text")
        with dsl.If(text == 3):
            say(text="text as number")
        with dsl.If(flag == "true"):
            say(text="flag as text")
        with dsl.If(real == "2.5"):
            say(text="real as text")
        with dsl.If(n == 3.0):
            say(text="n as real")
        with dsl.If(n < real):
            say(text="n < real")
        with dsl.If(n == text):
            say(text="n == text")

    ran = bench.run(mixed, {"n": 3, "text": "3", "flag": True, "real": 2.5})
    expected = {"n as text", "text as number", "flag as text", "real as text", "n as real"}
    assert words(ran) == {*expected, "n == text"}
    ran = bench.run(mixed, {"n": 2, "text": "3.0", "flag": False, "real": 2.25})
    assert words(ran) == {"n < real"}


HOSTILE = [
    "it's",
    "z' or 'a'=='a",
    "z' || 'a' == 'a",
    "' == ' || true || '",
    "x') || !('",
    'say "so"',
    "a\\",
    "\\'",
    "\\n",
    "line\nbreak",
    "tab\t",
    "{{$.inputs.parameters['x']}}",
    "{}",
    "inputs.parameter_values['pipelinechannel--left']",
    "int(3)",
    "true",
    "null",
    "__import__('os').system('true')",
    "&& false",
    "é🚀\u202e",
    "\x00",
    "'",
    "''",
    "",
]
#: Neither YAML nor any reading of the condition can tell these constants from something else.
UNREADABLE = ["", "\x00", "inputs.parameter_values['pipelinechannel--left']"]


@feature("Conditions", "Values that look like code are only values")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_kfp_hostile_values(bench, hostile):
    """From an argument and from an output; each against itself, and against another text."""

    @dsl.pipeline
    def compared(left: str, other: str):
        same = say(text=left).output
        with dsl.If(left == same):
            say(text="same")
        with dsl.If(left != same):
            say(text="not same")
        with dsl.If(left == other):
            say(text="other")
        with dsl.If(same == "x"):
            say(text="x")
        with dsl.Elif(other == "x"):
            say(text="other is x")
        with dsl.Else():
            say(text="neither")

    ran = bench.run(compared, {"left": hostile, "other": hostile + "'"})
    assert words(ran) == {"same", "neither"}
    assert ran.output("say") == hostile


@feature("Conditions", "Constants with quotes, backslashes and operators mean themselves")
@pytest.mark.parametrize("constant", [text for text in HOSTILE if text not in UNREADABLE])
def test_kfp_hostile_constants(bench, constant):
    """The compiler escapes nothing: `dsl.If(text == "it's")` compiles to `… == 'it's'`."""

    @dsl.pipeline
    def against_a_constant(text: str):
        with dsl.If(text == constant):
            say(text="yes")
        with dsl.Else():
            say(text="no")

    ir = bench.compile(against_a_constant)
    assert words(bench.run(ir, {"text": constant})) == {"yes"}
    assert words(bench.run(ir, {"text": constant + "."})) == {"no"}
    assert words(bench.run(ir, {"text": "z"})) == {"no"}


@feature("Conditions", "A constant that is itself a comparison of inputs", status="refused")
def test_kfp_a_constant_that_reads_like_an_input(bench):
    """It cannot be told from one: refused, not guessed."""

    @dsl.pipeline
    def against_a_constant(text: str):
        with dsl.If(text == UNREADABLE[2]):
            say(text="yes")

    with pytest.raises(InvalidInput, match="condition-1"):
        bench.run(against_a_constant, {"text": "x"})


@feature("Conditions", "If, Elif, Else: exactly one branch")
def test_kfp_if_elif_else(bench):
    @dsl.pipeline
    def sized(n: int):
        with dsl.If(n < 10):
            say(text="small")
        with dsl.Elif(n < 100):
            say(text="medium")
        with dsl.Elif(n < 50):
            say(text="never")
        with dsl.Else():
            first = say(text="large")
            say(text=f"very {first.output}")

    for n, expected in [(1, {"small"}), (10, {"medium"}), (100, {"large", "very large"})]:
        ran = bench.run(sized, {"n": n})
        assert words(ran) == expected
        assert len(ran.executed) == len(expected)
        assert len(ran.not_triggered) == 5 - len(expected)
        assert ran.state == "succeeded"


@feature("Conditions", "Conditions in conditions")
def test_kfp_nested_conditions(bench):
    @dsl.pipeline
    def nested(a: int, b: str):
        with dsl.If(a > 0, name="positive"):
            one = add(n=a)
            with dsl.If(b == "x"):
                say(text="x")
                with dsl.If(one.output == 2):
                    say(text="x and 2")
            with dsl.Else():
                with dsl.If(one.output == 2):
                    say(text="no x and 2")
        with dsl.Else():
            say(text="not positive")

    def run(a, b):
        return {word for word in words(bench.run(nested, {"a": a, "b": b})) if word != a + 1}

    assert run(1, "x") == {"x", "x and 2"}
    assert run(5, "x") == {"x"}
    assert run(1, "y") == {"no x and 2"}
    assert run(5, "y") == set()
    assert run(-1, "x") == {"not positive"}


@feature("Conditions", "A condition on the result of another branch")
def test_kfp_a_condition_on_a_result_inside(bench):
    @dsl.pipeline
    def chained(n: int):
        with dsl.If(n > 0):
            grown = add(n=n, by=10)
            with dsl.If(grown.output > 15):
                say(text="large")
            with dsl.Elif(grown.output > 12):
                say(text="middle")

    assert "large" in words(bench.run(chained, {"n": 6}))
    assert words(bench.run(chained, {"n": 3})) == {13, "middle"}
    assert words(bench.run(chained, {"n": 1})) == {11}
    ran = bench.run(chained, {"n": 0})
    assert ran.executed == set() and len(ran.not_triggered) == 3 and ran.state == "succeeded"


def behind(ir: bytes, task: str, group: str) -> bytes:
    """The SDK lets nothing outside depend on a branch; the IR, and other compilers, do."""
    spec = yaml.safe_load(ir)
    spec["root"]["dag"]["tasks"][task].setdefault("dependentTasks", []).append(group)
    return yaml.safe_dump(spec).encode()


@feature("Conditions", "What needs a branch that did not run is not run either, and nothing fails")
def test_kfp_what_needs_an_untaken_branch(bench):
    @dsl.pipeline
    def needing(n: int):
        with dsl.If(n > 0):
            inside = add(n=n)
            add(n=inside.output)
        after_it = say(text="after the branch")
        say(text="after that").after(after_it)
        say(text="independent")

    ir = behind(bench.compile(needing), "say", "condition-1")
    ran = bench.run(ir, {"n": 0})
    assert ran.state == "succeeded"
    assert ran.executed == {"say-3"}
    assert ran.not_triggered == {"condition-1/add", "condition-1/add-2", "say", "say-2"}
    ran = bench.run(ir, {"n": 1})
    assert ran.not_triggered == set() and len(ran.executed) == 5


@feature("Conditions", "What needs a branch that did not run is not run either, and nothing fails")
def test_kfp_a_tolerant_task_after_an_untaken_branch(bench):
    @dsl.component(base_image=IMAGE)
    def tell(n: int = -1) -> int:
        return n

    @dsl.pipeline
    def tolerant(n: int):
        with dsl.If(n > 0):
            add(n=n)
        tell(n=7).after(say(text="x")).ignore_upstream_failure()

    ran = bench.run(behind(bench.compile(tolerant), "tell", "condition-1"), {"n": 0})
    assert ran.state == "succeeded"
    assert ran.executed == {"say", "tell"} and ran.output("tell") == 7


@feature("Conditions", "A failed task before a condition: the branch does not run")
def test_kfp_a_failure_before_a_condition(bench):
    @dsl.component(base_image=IMAGE)
    def fail() -> int:
        raise ValueError("no number")

    @dsl.pipeline
    def failing():
        with dsl.If(fail().output == 1):
            say(text="one")
        with dsl.Else():
            say(text="other")
        say(text="independent")

    ran = bench.run(failing)
    assert ran.failed == {"fail"}
    assert ran.upstream_failed == {
        "condition-branches-1/condition-2/say", "condition-branches-1/condition-3/say-2",
    }  # fmt: skip
    assert ran.executed == {"fail", "say-3"}


@feature("Conditions", "dsl.Condition, the old name of dsl.If")
@pytest.mark.filterwarnings("ignore:dsl.Condition is deprecated")
def test_kfp_the_old_name(bench):
    @dsl.pipeline
    def old(n: int):
        with dsl.Condition(n == 1, name="old"):
            say(text="one")

    assert words(bench.run(old, {"n": 1})) == {"one"}
    assert words(bench.run(old, {"n": 2})) == set()


@feature("Conditions", "A condition that cannot be read is refused at submission", status="refused")
@pytest.mark.parametrize(
    "condition",
    ["inputs.parameter_values['pipelinechannel--n'] ==", "open('/etc/passwd')", "1 = 1", "n > 0",
     "inputs.parameter_values['pipelinechannel--nn'] == 1.0"],
)  # fmt: skip
def test_kfp_an_unreadable_condition(bench, condition):
    @dsl.pipeline
    def compared(n: float):
        with dsl.If(n == 1.5):
            say(text="yes")

    ir = bench.compile(compared)
    written = b"inputs.parameter_values['pipelinechannel--n'] == 1.5"
    assert written in ir
    with pytest.raises(InvalidInput) as refused:
        bench.run(ir.replace(written, condition.encode()), {"n": 1})
    assert "condition-1" in refused.value.message
