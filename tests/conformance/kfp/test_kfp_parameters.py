"""Parameters: types, casts, defaults, what is optional, and what a run can be given."""

import math
from typing import Any, Dict, List, NamedTuple, Optional

import pytest
import yaml
from kfp import dsl
from kfp.dsl import OutputPath

from seamline.domain.errors import InvalidInput

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def see(text: str, whole: int, real: float, flag: bool, items: list, table: dict) -> str:
    return repr((text, whole, real, flag, items, table))


@dsl.component(base_image=IMAGE)
def see_text(value: str) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_int(value: int = 7) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_float(value: float) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def see_list(value: List[Any]) -> str:
    return repr(value)


@dsl.component(base_image=IMAGE)
def hand_on(value: str) -> str:
    return value


@dsl.component(base_image=IMAGE)
def hand_on_list(value: list) -> list:
    return value


class All(NamedTuple):
    text: str
    whole: int
    real: float
    flag: bool
    items: List[int]
    table: Dict[str, int]


SEEN = "('a', 3, 2.0, True, [1, 2.5, [4], {'b': 5}, False], {'in': [7], 'n': 6, 'x': 0.5})"
VALUES = {
    "text": "a",
    "whole": 3,
    "real": 2.0,
    "flag": True,
    "items": [1, 2.5, [4], {"b": 5}, False],
    "table": {"in": [7], "n": 6, "x": 0.5},
}


@feature("Parameters", "Strings, integers, floats, booleans, lists and structs as constants")
def test_kfp_constants_keep_their_types(bench):
    @dsl.pipeline
    def constants() -> str:
        return see(
            text="a",
            whole=3,
            real=2.0,
            flag=True,
            items=[1, 2.5, [4], {"b": 5}, False],
            table={"in": [7], "n": 6, "x": 0.5},
        ).output

    assert bench.run(constants).result == SEEN


@feature("Parameters", "Arguments of every type; whole numbers stay integers in lists and structs")
def test_kfp_arguments_keep_their_types(bench):
    @dsl.pipeline
    def arguments(text: str, whole: int, real: float, flag: bool, items: list, table: dict) -> str:
        return see(text=text, whole=whole, real=real, flag=flag, items=items, table=table).output

    assert bench.run(arguments, VALUES).result == SEEN
    # As some clients send numbers: JSON from a language that has only doubles.
    assert bench.run(arguments, {**VALUES, "whole": 3.0, "real": 2}).result == SEEN


@feature("Parameters", "Defaults of every type, of components and of pipelines")
def test_kfp_defaults_keep_their_types(bench):
    @dsl.component(base_image=IMAGE)
    def defaults(
        text: str = "a",
        whole: int = 3,
        real: float = 2.0,
        flag: bool = True,
        items: list = [1, 2.5, [4], {"b": 5}, False],
        table: dict = {"in": [7], "n": 6, "x": 0.5},
    ) -> str:
        return repr((text, whole, real, flag, items, table))

    @dsl.pipeline
    def of_the_pipeline(
        text: str = "a",
        whole: int = 3,
        real: float = 2.0,
        flag: bool = True,
        items: list = [1, 2.5, [4], {"b": 5}, False],
        table: dict = {"in": [7], "n": 6, "x": 0.5},
    ) -> str:
        return see(text=text, whole=whole, real=real, flag=flag, items=items, table=table).output

    assert bench.run(defaults).tasks["defaults"]["outputs"]["parameters"]["Output"] == SEEN
    assert bench.run(of_the_pipeline).result == SEEN
    changed = bench.run(of_the_pipeline, {"whole": -1, "flag": False, "items": []}).result
    assert changed == "('a', -1, 2.0, False, [], {'in': [7], 'n': 6, 'x': 0.5})"


@feature("Parameters", "Outputs of every type, returned or written to OutputPath, with their types")
def test_kfp_outputs_keep_their_types(bench, exactly):
    @dsl.component(base_image=IMAGE)
    def returned() -> NamedTuple(
        "All",
        [
            ("text", str),
            ("whole", int),
            ("real", float),
            ("flag", bool),
            ("items", list),
            ("table", dict),
        ],
    ):
        items = [1, 2.5, [4], {"b": 5}, False]
        return ("a", 3, 2.0, True, items, {"in": [7], "n": 6, "x": 0.5})

    @dsl.component(base_image=IMAGE)
    def written(
        text: OutputPath(str),
        whole: OutputPath(int),
        real: OutputPath(float),
        flag: OutputPath(bool),
        items: OutputPath(list),
        table: OutputPath(dict),
    ):
        import json
        from pathlib import Path

        Path(text).write_text("a")
        Path(whole).write_text("3")
        Path(real).write_text("2")
        Path(flag).write_text("True")
        Path(items).write_text(json.dumps([1, 2.5, [4], {"b": 5}, False]))
        Path(table).write_text(json.dumps({"in": [7], "n": 6, "x": 0.5}))

    def both(make):
        @dsl.pipeline
        def handed_on() -> str:
            made = make().outputs
            return see(**{name: made[name] for name in VALUES}).output

        return handed_on

    for make in (returned, written):
        ran = bench.run(both(make))
        assert ran.result == SEEN, make.name
        assert exactly(ran.tasks[make.name]["outputs"]["parameters"]) == exactly(VALUES)


@feature("Parameters", "Typed lists and structs: List[int], Dict[str, List[int]], nested")
def test_kfp_typed_lists_and_structs(bench):
    @dsl.component(base_image=IMAGE)
    def add_up(rows: Dict[str, List[int]]) -> List[int]:
        return [sum(row) for row in rows.values()]

    @dsl.component(base_image=IMAGE)
    def largest(numbers: List[int]) -> int:
        return max(numbers)

    @dsl.pipeline
    def typed(rows: Dict[str, List[int]]) -> int:
        return largest(numbers=add_up(rows=rows).output).output

    assert repr(bench.run(typed, {"rows": {"a": [1, 2], "b": [3, 4]}}).result) == "7"


TEXTS = {
    "empty": "",
    "space": "  \t ",
    "lines": "a\nb\r\nc\u2028d",
    "quotes": 'it\'s "quoted" `x` $(y) ${z}',
    "backslashes": "\\n \\\\ \\u0041 C:\\new",
    "braces": "{} {{}} }} {{ {0} %s",
    "placeholder": "{{$.pipeline_job_uuid}} {{$.inputs.parameters['value']}} {{$}}",
    "channel": "{{channel:task=hand-on;name=Output;type=String;}}",
    "unicode": "é ß 東京 🚀 \U0001f468\u200d\U0001f469 \u202eabc e\u0301",
    "yaml": "- a: !!python/object x\n---\nno: yes",
    "json": '{"a": [1, 2.0, null]}',
    "number": "007",
    "null": "null",
    "true": "true",
    "nul": "a\x00b",
    "long": "0123456789" * 40_000,
}


@feature("Parameters", "Any text arrives as it was sent: unicode, quotes, braces, placeholders")
def test_kfp_any_text_arrives_unchanged(bench):
    """A value that looks like a placeholder, a number or code is a text all the same."""

    @dsl.component(base_image=IMAGE)
    def hand_on_all(values: dict) -> dict:
        return values

    @dsl.pipeline
    def all_texts(values: dict, one: str) -> dict:
        hand_on(value=hand_on(value=one).output)
        return hand_on_all(values=hand_on_all(values=values).output).output

    ran = bench.run(all_texts, {"values": TEXTS, "one": TEXTS["placeholder"]})
    assert ran.result == TEXTS
    assert ran.output("hand-on-2") == TEXTS["placeholder"]


@feature("Parameters", "Any text arrives as it was sent: unicode, quotes, braces, placeholders")
@pytest.mark.parametrize("name", ["empty", "lines", "quotes", "backslashes", "unicode", "json"])
def test_kfp_any_text_can_be_a_constant(bench, name):
    @dsl.pipeline
    def constant() -> str:
        return see_text(value=TEXTS[name]).output

    assert bench.run(constant).result == repr(TEXTS[name])


@feature("Parameters", "Large values: parameters of megabytes, past the limit of an argument list")
def test_kfp_a_parameter_of_megabytes(bench):
    @dsl.component(base_image=IMAGE)
    def repeat(times: int) -> str:
        return "0123456789" * times

    @dsl.component(base_image=IMAGE)
    def measure(value: str) -> int:
        return len(value)

    @dsl.pipeline
    def large(times: int) -> int:
        return measure(value=repeat(times=times).output).output

    assert bench.run(large, {"times": 500_000}).result == 5_000_000


@feature("Parameters", "Edge numbers: ±(2^53 - 1), the smallest and the largest double, -0.0")
def test_kfp_edge_numbers(bench):
    edge = [2**53 - 1, -(2**53) + 1, 1.7976931348623157e308, 5e-324, 0.1 + 0.2, 0, -1]

    @dsl.pipeline
    def edges(whole: int, real: float, items: list):
        see_int(value=whole)
        see_float(value=real)
        see_list(value=hand_on_list(value=items).output)

    ran = bench.run(edges, {"whole": 2**53 - 1, "real": -0.0, "items": edge})
    assert ran.output("see-int") == "9007199254740991"
    assert ran.output("see-float") == "-0.0"
    assert ran.output("see-list") == repr(edge)


@feature("Parameters", "Floats that JSON has no word for (NaN, infinity) flow between tasks")
def test_kfp_nan_and_infinity_flow_on(bench):
    @dsl.component(base_image=IMAGE)
    def odd(which: str) -> float:
        return float(which)

    @dsl.pipeline
    def odd_floats():
        see_float(value=odd(which="nan").output)
        see_float(value=odd(which="-inf").output)

    ran = bench.run(odd_floats)
    assert (ran.output("see-float"), ran.output("see-float-2")) == ("nan", "-inf")
    assert not isinstance(ran.output("odd"), float) or not math.isnan(ran.output("odd"))


@feature("Parameters", "Optional parameters: None, left out, and a default further down")
def test_kfp_optional_parameters(bench):
    @dsl.component(base_image=IMAGE)
    def options(
        text: Optional[str] = None,
        count: Optional[int] = 3,
        items: Optional[list] = None,
    ) -> str:
        return repr((text, count, items))

    @dsl.pipeline
    def optional(text: Optional[str] = None, count: Optional[int] = None):
        options()
        options(text=text, count=count)
        options(text="x", count=0, items=[])
        see_int(value=count)

    ran = bench.run(optional)
    assert ran.output("options") == "(None, 3, None)"
    assert ran.output("options-2") == "(None, 3, None)"
    assert ran.output("options-3") == "('x', 0, [])"
    assert ran.output("see-int") == "7"
    ran = bench.run(optional, {"text": "", "count": 0})
    assert (ran.output("options-2"), ran.output("see-int")) == ("('', 0, None)", "0")


@feature("Parameters", "Optional parameters: None, left out, and a default further down")
def test_kfp_optional_parameters_through_nested_pipelines(bench):
    @dsl.pipeline
    def inner(count: Optional[int] = None, known: int = 4) -> str:
        see_int(value=known)
        return see_int(value=count).output

    @dsl.pipeline
    def outer(count: Optional[int] = None) -> str:
        inner()
        return inner(count=count, known=5).output

    ran = bench.run(outer)
    assert ran.result == "7"
    assert ran.output("inner/see-int") == "4" and ran.output("inner-2/see-int") == "5"
    assert bench.run(outer, {"count": 1}).result == "1"


def with_literals(ir: bytes, *literals: Any) -> bytes:
    spec = yaml.safe_load(ir)
    spec["root"]["inputDefinitions"]["parameters"]["size"]["literals"] = list(literals)
    return yaml.safe_dump(spec).encode()


@feature("Parameters", "Literals: only the values that the pipeline allows")
def test_kfp_literals(bench):
    @dsl.pipeline
    def sized(size: str = "small") -> str:
        return hand_on(value=size).output

    ir = with_literals(bench.compile(sized), "small", "large")
    assert bench.run(ir).result == "small"
    assert bench.run(ir, {"size": "large"}).result == "large"
    with pytest.raises(InvalidInput, match="'size' has to be one of small, large; lagre came") as e:
        bench.run(ir, {"size": "lagre"})
    assert "large" in e.value.next_step


@feature("Parameters", "Literals: only the values that the pipeline allows")
def test_kfp_literals_of_a_component(bench):
    @dsl.pipeline
    def sized(size: str) -> str:
        return hand_on(value=hand_on(value=size).output).output

    spec = yaml.safe_load(bench.compile(sized))
    spec["components"]["comp-hand-on-2"]["inputDefinitions"]["parameters"]["value"]["literals"] = [
        "small",
        "large",
    ]
    ir = yaml.safe_dump(spec).encode()
    assert bench.run(ir, {"size": "small"}).result == "small"
    ran = bench.run(ir, {"size": "tiny"})
    assert ran.failed == {"hand-on-2"}
    message = ran.error("hand-on-2")["message"]
    assert "'value'" in message and "small, large" in message and "tiny" in message


BAD_ARGUMENTS = [
    ({}, ["'whole'", "NUMBER_INTEGER", "no value"]),
    ({"whole": 1, "wohle": 2}, ["no parameter 'wohle'"]),
    ({"whole": "three"}, ["'whole'", "an integer", "three"]),
    ({"whole": 2.5}, ["'whole'", "an integer", "2.5"]),
    ({"whole": True}, ["'whole'", "an integer", "rue"]),
    ({"whole": 2**53}, ["'whole'", str(2**53)]),
    ({"whole": 1, "real": "x"}, ["'real'", "a number", "x"]),
    ({"whole": 1, "real": math.nan}, ["'real'", "nan"]),
    ({"whole": 1, "text": 5}, ["'text'", "a string", "5"]),
    ({"whole": 1, "flag": "maybe"}, ["'flag'", "true or false", "maybe"]),
    ({"whole": 1, "flag": 1}, ["'flag'", "true or false", "1"]),
    ({"whole": 1, "items": {"a": 1}}, ["'items'", "a list"]),
    ({"whole": 1, "table": [1]}, ["'table'", "an object"]),
]


@feature("Parameters", "Wrong arguments are refused: name, wanted type and value", status="refused")
@pytest.mark.parametrize(("arguments", "said"), BAD_ARGUMENTS)
def test_kfp_wrong_arguments_are_refused(bench, arguments, said):
    @dsl.pipeline
    def arguments_of(
        whole: int,
        real: float = 0.5,
        text: str = "",
        flag: bool = False,
        items: list = [],
        table: dict = {},
    ):
        see(text=text, whole=whole, real=real, flag=flag, items=items, table=table)

    with pytest.raises(InvalidInput) as refused:
        bench.run(arguments_of, arguments)
    assert [part for part in said if part not in refused.value.message] == []
    assert refused.value.next_step


@feature("Parameters", "An output of another type than declared fails its task, and says so")
def test_kfp_an_output_of_another_type_fails_the_task(bench):
    @dsl.component(base_image=IMAGE)
    def wrong(count: OutputPath(int)):
        from pathlib import Path

        Path(count).write_text("many")

    @dsl.pipeline
    def wrongly():
        see_int(value=wrong().outputs["count"])

    ran = bench.run(wrongly)
    assert (ran.failed, ran.upstream_failed) == ({"wrong"}, {"see-int"})
    message = ran.error("wrong")["message"]
    assert "'count'" in message and "an integer" in message and "many" in message
