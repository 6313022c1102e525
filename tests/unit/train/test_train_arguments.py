"""Arguments of a run: missing, unknown, wrongly typed; and casts."""

import pytest

from seamline.domain.errors import InvalidInput
from seamline.train.arguments import check_arguments, parse_arguments
from seamline.train.ir.types import ParameterSpec, ParameterType

SPECS = {
    "rows": ParameterSpec(ParameterType.NUMBER_INTEGER),
    "rate": ParameterSpec(ParameterType.NUMBER_DOUBLE, True, True, 0.5),
    "since": ParameterSpec(ParameterType.STRING, True, True, ""),
    "options": ParameterSpec(ParameterType.STRUCT, True),
    "names": ParameterSpec(ParameterType.LIST, True),
    "fast": ParameterSpec(ParameterType.BOOLEAN, True),
    "mode": ParameterSpec(ParameterType.STRING, True, literals=("a", "b")),
}


def test_defaults_are_filled_in_and_optional_ones_left_out():
    assert check_arguments(SPECS, {"rows": 3}) == {"rows": 3, "rate": 0.5, "since": ""}


def test_whole_numbers_stay_whole_everywhere():
    given = {"rows": 3.0, "rate": 2, "names": [1.0, [2.0, 2.5]], "options": {"a": {"b": 4.0}}}
    checked = check_arguments(SPECS, given)
    assert repr(checked["rows"]) == "3"
    assert repr(checked["rate"]) == "2.0"
    assert repr(checked["names"]) == "[1, [2, 2.5]]"
    assert repr(checked["options"]) == "{'a': {'b': 4}}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"'rows' \(NUMBER_INTEGER\) has no value"),
        ({"rows": None}, "'rows'"),
        ({"rows": 1, "sinse": "x"}, "no parameter 'sinse'. Did you mean since"),
        ({"rows": "3"}, "Parameter 'rows' has to be an integer; a string came: 3"),
        ({"rows": 3.5}, "'rows' has to be an integer; a number came: 3.5"),
        ({"rows": True}, "'rows' has to be an integer; a boolean came: true"),
        ({"rows": 1, "rate": "fast"}, "'rate' has to be a number; a string came: fast"),
        ({"rows": 1, "since": 2013}, "'since' has to be a string; a number came: 2013"),
        ({"rows": 1, "names": {"a": 1}}, "'names' has to be a list; an object came"),
        ({"rows": 1, "options": [1]}, "'options' has to be an object; a list came"),
        ({"rows": 1, "fast": 1}, "'fast' has to be true or false"),
        ({"rows": 1, "mode": "c"}, "'mode' has to be one of a, b; c came"),
        ({"rows": 2**60}, "beyond"),
        ({"rows": 1, "rate": float("nan")}, "nan"),
        ({"rows": 1, "options": {"a": [float("inf")]}}, "inf"),
        ({"rows": float("inf")}, "integer"),
    ],
)
def test_what_does_not_fit_is_named(given, said):
    with pytest.raises(InvalidInput, match=said):
        check_arguments(SPECS, given)


def test_texts_are_read_by_the_declared_type():
    texts = {"rows": "3", "since": "2013", "names": '["a"]', "fast": "true", "other": "1"}
    assert parse_arguments(SPECS, texts) == {
        "rows": 3, "since": "2013", "names": ["a"], "fast": True, "other": "1",
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="'rows' has to be an integer; a string came: many"):
        parse_arguments(SPECS, {"rows": "many"})
