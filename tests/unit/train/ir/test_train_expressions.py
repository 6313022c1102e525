"""Conditions and selectors: what the real compiler writes, judged as Python judges the operator."""

import math
import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import dsl

from seamline.domain.errors import InvalidInput
from seamline.train.ir.expression_parser import MAX_DEPTH
from seamline.train.ir.expressions import evaluate_expression, names_read, parse_expression

X, Y = "pipelinechannel--x", "pipelinechannel--y"
OPERATORS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@dsl.component(base_image="python:3.11")
def work():
    pass


def compiled_chain(kind: type, operators: list[Any], constants: list[Any]) -> list[str]:
    """The conditions of If, Elif … and Else on a parameter `x`, as the SDK compiles them."""

    @dsl.pipeline
    def chain(x: kind):
        with dsl.If(operators[0](x, constants[0])):
            work()
        for compare, constant in zip(operators[1:], constants[1:], strict=True):
            with dsl.Elif(compare(x, constant)):
                work()
        with dsl.Else():
            work()

    return conditions_in(chain)


def conditions_in(pipeline: Any) -> list[str]:
    tasks = pipeline.pipeline_spec.components["comp-condition-branches-1"].dag.tasks
    return [tasks[f"condition-{i + 2}"].trigger_policy.condition for i in range(len(tasks))]


def compiled_pair(left: type, compare: Any, right: type) -> str:
    @dsl.pipeline
    def pair(x: left, y: right):
        with dsl.If(compare(x, y)):
            work()
        with dsl.Else():
            work()

    return conditions_in(pair)[0]


def judge(text: str, **names: Any) -> Any:
    given = {f"pipelinechannel--{name}": value for name, value in names.items()}
    return evaluate_expression(parse_expression(text), given)


#: What could end a text early, or be taken for a piece of an expression.
PIECES = ["'", '"', "\\", "\\'", "\\n", "\n", " && ", " || ", " == ", "==", "!(", "(", ")", "')",
          "' == '", "') && !('", "' || 'a'=='a", "true", "inputs", "x", "é", "𝄞", " ", "{{$}}",
          "[", "]", "3", "int("]  # fmt: skip
HOSTILE = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
NUMBERS = st.one_of(INTEGERS, st.floats())


@settings(max_examples=150, deadline=None)
@given(compare=st.sampled_from(OPERATORS), constant=HOSTILE, other=HOSTILE)
def test_texts_compare_as_in_python_however_hostile(compare, constant, other):
    matched, otherwise = compiled_chain(str, [compare], [constant])
    for value in (constant, other):
        assert judge(matched, x=value) is compare(value, constant)
        assert judge(otherwise, x=value) is not compare(value, constant)


@settings(max_examples=60, deadline=None)
@given(constants=st.lists(HOSTILE, min_size=2, max_size=4), other=HOSTILE)
def test_one_branch_of_a_chain_runs(constants, other):
    texts = compiled_chain(str, [operator.eq] * len(constants), constants)
    for value in (*constants, other):
        ran = [i for i, text in enumerate(texts) if judge(text, x=value)]
        assert ran == [constants.index(value) if value in constants else len(constants)]


@settings(max_examples=100, deadline=None)
@given(
    compare=st.sampled_from(OPERATORS),
    kind=st.sampled_from([int, float]),
    constant=NUMBERS,
    data=st.data(),
)
def test_numbers_compare_as_in_python(compare, kind, constant, data):
    value = data.draw(INTEGERS if kind is int else NUMBERS)
    matched, otherwise = compiled_chain(kind, [compare], [constant])
    assert judge(matched, x=value) is compare(value, constant)
    assert judge(otherwise, x=value) is not compare(value, constant)


@pytest.mark.parametrize("compare", OPERATORS)
@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_booleans_compare_as_in_python(compare, value, constant):
    assert judge(compiled_chain(bool, [compare], [constant])[0], x=value) is compare(
        value, constant
    )


@settings(max_examples=80, deadline=None)
@given(
    compare=st.sampled_from(OPERATORS),
    kinds=st.sampled_from([(int, int), (int, float), (float, int), (str, str), (bool, bool)]),
    data=st.data(),
)
def test_two_parameters_compare_as_in_python(compare, kinds, data):
    drawn = {int: INTEGERS, float: st.floats(), str: HOSTILE, bool: st.booleans()}
    left, right = (data.draw(drawn[kind]) for kind in kinds)
    assert judge(compiled_pair(kinds[0], compare, kinds[1]), x=left, y=right) is compare(
        left, right
    )


@pytest.mark.parametrize(
    ("kind", "constant", "value", "expected"),
    [
        (int, "3", 3, True),  # the compiler writes 'int(inputs.parameter_values['…'])' == '3'
        (int, "3", 4, False),
        (bool, "true", True, True),
        (float, "1.5", 1.5, True),
        (str, 3, "3", True),
        (str, True, "true", True),
    ],
)
def test_what_the_compiler_casts_to_text_compares_as_text(kind, constant, value, expected):
    assert judge(compiled_chain(kind, [operator.eq], [constant])[0], x=value) is expected


@pytest.mark.parametrize(("left", "right"), [(str, int), (int, str), (str, bool), (float, str)])
def test_a_parameter_compares_with_one_of_another_type_as_text(left, right):
    text = compiled_pair(left, operator.eq, right)
    values = {int: 3, str: "3", bool: True, float: 3.0}
    x, y = values[left], "true" if bool in (left, right) and right is not bool else values[right]
    x = "true" if right is bool else x
    assert judge(text, x=x, y=y) is True
    assert judge(text, x="other" if left is str else x, y="other" if right is str else y) is False


@pytest.mark.parametrize(
    "value", ["z' or 'a'=='a", "a' || true || 'a' == 'a", "true", f"inputs.parameter_values['{X}']"]
)
def test_data_is_never_code(value):
    matched, otherwise = compiled_chain(str, [operator.eq], ["a"])
    assert judge(matched, x=value) is False
    assert judge(otherwise, x=value) is True


def test_a_constant_that_holds_a_comparison_is_read_as_cel():
    """Nothing tells it apart from two conditions; other backends read it so, too."""
    text = compiled_chain(str, [operator.eq], [f"a' || inputs.parameter_values['{X}'] == 'b"])[0]
    assert judge(text, x="b") is True


# -- what the compiler does not write, but CEL has ---------------------------------------------
@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("inputs.parameter_values['a'] == 'x' || inputs.parameter_values['b'] > 2", {"b": 3}, True),
        ("!(inputs.parameter_values['a'] == 1 && inputs.parameter_values['b'] == 1)",
         {"a": 1, "b": 2}, True),
        ('inputs.parameter_values["a"] == "it\\\'s \\"\\u00e9\\x41\\101\\n"', {"a": "it's \"éAA\n"},
         True),
        ("int(inputs.parameter_values['a']) == 3", {"a": "3"}, True),
        ("int(inputs.parameter_values['a']) == 3", {"a": 3.0}, True),
        ("double(inputs.parameter_values['a']) == 2.5", {"a": "2.5"}, True),
        ("string(inputs.parameter_values['a']) == 'true'", {"a": True}, True),
        ("bool(inputs.parameter_values['a'])", {"a": "true"}, True),
        ("inputs.parameter_values['a']", {"a": True}, True),
        ("inputs.parameter_values['a'] == null", {}, True),
        ("true", {}, True),
        ("false || !false", {}, True),
        # Items of a list whose type nobody declared: compiled as texts, given as they are.
        ("inputs.parameter_values['a'] == '3'", {"a": 3}, True),
        ("inputs.parameter_values['a'] > '9'", {"a": 10}, True),
        ("inputs.parameter_values['a'] == 'true'", {"a": True}, True),
        ("inputs.parameter_values['a'] == 'x'", {"a": 3}, False),
        # Unlike types are unequal.
        ("inputs.parameter_values['a'] == true", {"a": 1}, False),
        ("inputs.parameter_values['a'] != 1", {"a": True}, True),
        ("inputs.parameter_values['a'] == 'a'", {"a": ["a"]}, False),
        # Without a value.
        ("int(inputs.parameter_values['a']) == 3", {}, False),
        ("inputs.parameter_values['a'] != 'x'", {"a": None}, True),
        # Not judged, since the left side decides.
        ("inputs.parameter_values['a'] == 1 || inputs.parameter_values['b'] < 'x'",
         {"a": 1, "b": []}, True),
        ("inputs.parameter_values['a'] == 2 && inputs.parameter_values['b'] < 'x'",
         {"a": 1, "b": []}, False),
    ],
)  # fmt: skip
def test_semantics(text, names, expected):
    assert evaluate_expression(parse_expression(text), names) is expected


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ("inputs.parameter_values['a'] < 3", None, "null.*cannot be compared by < with 3"),
        ("inputs.parameter_values['a'] < 3", [1], "a list.*cannot be compared"),
        ("inputs.parameter_values['a'] > true", 1, "cannot be compared by >"),
        ("int(inputs.parameter_values['a']) == 3", "x", r'int\("x"\) has no value'),
        ("int(inputs.parameter_values['a']) == 3", math.inf, "has no value"),
        ("int(inputs.parameter_values['a']) == 3", True, "has no value"),
        ("bool(inputs.parameter_values['a'])", "yes", "has no value"),
        ("inputs.parameter_values['a']", "true", "neither true nor false"),
        ("!inputs.parameter_values['a']", 3, "neither true nor false"),
    ],
)
def test_values_that_do_not_fit_name_the_expression(text, value, said):
    with pytest.raises(InvalidInput, match=f"(?s){said}.*The expression is: "):
        evaluate_expression(parse_expression(text), {"a": value})


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("", 1, "the end"),
        ("inputs.parameter_values['x'] = 3", 30, "'='"),
        ("inputs.parameter_values['x'] == 'a' &&", 39, "the end"),
        ("inputs.parameter_values['x'] == 3 == 4", 35, "do not chain"),
        ("inputs.parameter_values[x] == 1", 25, "name of an input"),
        ("inputs.parameters['x'] == 1", 8, "parameter_values"),
        ("int(3", 6, r"'\)'"),
        ("x == 1", 1, "a value"),
        ("size(inputs.parameter_values['x']) == 1", 1, "a value"),
        ("(" * 200 + "true" + ")" * 200, MAX_DEPTH + 1, f"at most {MAX_DEPTH} levels"),
        ("9" * 5000 + " == 1", 1, "a shorter number"),
        ("parseJson(string_value)[-1]", 25, "a key in quotes"),
        ("inputs.parameter_values['x'] == \"a", 33, "'\"'"),
    ],
)
def test_errors_point_at_the_character(text, position, said):
    with pytest.raises(InvalidInput, match=said) as raised:
        parse_expression(text)
    assert raised.value.details["position"] == position


@pytest.mark.parametrize("text", ["1 == 1", "'a' == 'a'", "true && 'x'", "!(1 == 2)"])
def test_conditions_of_constants_are_refused(text):
    with pytest.raises(InvalidInput, match="compares constants"):
        parse_expression(text)


def test_long_expressions_are_read_in_one_pass():
    chain = " && ".join(f"!(inputs.parameter_values['{X}'] == 'it's {i}')" for i in range(3000))
    assert judge(chain, x="it's 2999") is False
    assert judge(chain, x="it's 3000") is True
    with pytest.raises(InvalidInput):
        parse_expression("!(" + f"inputs.parameter_values['{X}'] == ' && " * 20_000)


# -- selectors ---------------------------------------------------------------------------------
def select(text: str, value: Any) -> Any:
    return evaluate_expression(parse_expression(text), {"string_value": value})


def test_selectors_take_parts():
    item = '{"a": 3, "b": {"c": [10, {"d": "it\'s"}]}, "e": false, "n": null}'
    assert select('parseJson(string_value)["a"]', item) == 3
    assert type(select('parseJson(string_value)["a"]', item)) is int
    assert select('parseJson(string_value)["b"]', item) == {"c": [10, {"d": "it's"}]}
    assert select("parseJson(string_value)['b']['c'][1]['d']", item) == "it's"
    assert select('parseJson(string_value)["e"]', item) is False
    assert select('parseJson(string_value)["n"]', item) is None
    assert select('parseJson(string_value)["a"]', {"a": 3}) == 3  # already parsed
    assert parse_expression('parseJson(string_value)["a"]').is_selector


@pytest.mark.parametrize(
    ("text", "value", "said"),
    [
        ('parseJson(string_value)["rows"]', '{"row": 1}', "no part 'rows'.*Did you mean row"),
        ('parseJson(string_value)["a"]', "not json", "is not JSON"),
        ('parseJson(string_value)["a"]', "[" * 100_000, "is not JSON"),
        ('parseJson(string_value)["a"]', "3", "is a number: it has no part 'a'"),
        ("parseJson(string_value)[2]", "[1, 2]", "no item 2 in a list of 2"),
    ],
)
def test_parts_that_are_not_there_are_named(text, value, said):
    with pytest.raises(InvalidInput, match=f"(?s){said}"):
        select(text, value)


def test_names_read_and_identity():
    text = f"int(inputs.parameter_values['{X}']) > inputs.parameter_values['{Y}'] && " + (
        f"inputs.parameter_values['{X}'] == 1"
    )
    assert names_read(parse_expression(text)) == (X, Y)
    assert names_read(parse_expression('parseJson(string_value)["a"]')) == ("string_value",)
    assert parse_expression(text) == parse_expression(text)
    assert hash(parse_expression(text)) == hash(parse_expression(text))
    assert parse_expression(text).text == text
