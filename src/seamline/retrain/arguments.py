"""Arguments of a retraining run, with dates around the window that raised the alarm. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from string import Formatter

from seamline.domain.errors import InvalidInput, nearest
from seamline.retrain.triggers import EventWindow

_FIELD = re.compile(r"(\w+)(?:([+-]\d+)([dwmy]))?")
_KNOWN = ("window", "window_start", "window_end")


def fill_arguments(templates: Mapping[str, str], window: EventWindow) -> dict[str, str]:
    """Placeholders: {window} (its label), {window_start}, {window_end} (the day after its last),
    and days, weeks, months or years from there: {window_start-3m}, {window_end+7d}.

    >>> from dataclasses import make_dataclass
    >>> window = make_dataclass("W", ["label", "start", "end"])(
    ...     "2013-09", date(2013, 9, 1), date(2013, 10, 1))
    >>> fill_arguments({"since": "{window_start-3m}", "until": "{window_start}"}, window)
    {'since': '2013-06-01', 'until': '2013-09-01'}
    """
    return {name: _fill(name, template, window) for name, template in templates.items()}


def _fill(name: str, template: str, window: EventWindow) -> str:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InvalidInput(
            f"Argument {name} = {template!r}: {error}.", next_step="Write {{ and }} for braces."
        ) from None
    filled = []
    for text, field, form, conversion in parts:
        filled.append(text)
        if field is not None:
            if form or conversion:
                raise _unknown(name, template, field)
            filled.append(_value(name, template, field, window))
    return "".join(filled)


def _value(name: str, template: str, field: str, window: EventWindow) -> str:
    match = _FIELD.fullmatch(field.replace(" ", ""))
    if match is None or match[1] not in _KNOWN:
        raise _unknown(name, template, match[1] if match else field)
    if match[1] == "window":
        if match[2]:
            raise _unknown(name, template, field)
        return window.label
    day = window.start if match[1] == "window_start" else window.end
    return shift_day(day, int(match[2]), match[3]).isoformat() if match[2] else day.isoformat()


def _unknown(name: str, template: str, field: str) -> InvalidInput:
    return InvalidInput(
        f"Argument {name} = {template!r}: no placeholder {{{field}}}.",
        next_step=f"{nearest(field, _KNOWN)} Dates take +7d, -2w, -3m, -1y.",
    )


def shift_day(day: date, number: int, unit: str) -> date:
    """A day moved by d(ays), w(eeks), m(onths) or y(ears), held within the month it comes to.

    >>> shift_day(date(2013, 3, 31), -1, "m"), shift_day(date(2012, 2, 29), 1, "y")
    (datetime.date(2013, 2, 28), datetime.date(2013, 2, 28))
    """
    try:
        if unit in "dw":
            return day + timedelta(days=number * (7 if unit == "w" else 1))
        months = day.year * 12 + day.month - 1 + number * (12 if unit == "y" else 1)
        first = date(months // 12, months % 12 + 1, 1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"{day} moved by {number}{unit} is no date.", next_step="Stay within years 1 to 9999."
        ) from None
    return first.replace(day=min(day.day, last.day))
