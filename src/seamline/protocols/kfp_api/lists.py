"""page_size, page_token, sort_by and filter, as every list of this API takes them."""

from __future__ import annotations

import base64
import binascii
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

from fastapi import Depends

from seamline.domain.clock import iso
from seamline.domain.digests import digest_of, short
from seamline.domain.errors import InvalidInput, nearest
from seamline.train.views.listing import Comparison, Condition, Cursor, Order

Item = TypeVar("Item")
DEFAULT_PAGE, LARGEST_PAGE = 20, 200
#: The numbers are those of the protocol's enum, which the client sends.
OPERATIONS = {
    1: Comparison.EQUALS,
    2: Comparison.NOT_EQUALS,
    3: Comparison.GREATER_THAN,
    5: Comparison.GREATER_THAN_EQUALS,
    6: Comparison.LESS_THAN,
    7: Comparison.LESS_THAN_EQUALS,
    8: Comparison.IN,
    9: Comparison.IS_SUBSTRING,
}
_BY_NAME = {operation.name: operation for operation in OPERATIONS.values()}
_SCALARS = ("string_value", "int_value", "long_value", "timestamp_value")
_LISTS = ("string_values", "int_values", "long_values")


@dataclass(frozen=True)
class ListRequest:
    page_size: int
    page_token: str
    sort_by: str
    filter: str

    @property
    def limit(self) -> int:
        return min(self.page_size or DEFAULT_PAGE, LARGEST_PAGE)

    def order(self, keys: Mapping[str, str]) -> Order:
        """`keys`: the API's name → the column. By creation, oldest first, unless asked otherwise.

        >>> ListRequest(10, "", "name desc", "").order({"name": "display_name"})
        Order(column='display_name', is_descending=True)
        """
        words = self.sort_by.split()
        if not words:
            return Order("created_at")
        if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
            raise InvalidInput(
                f"sort_by is {self.sort_by!r}.", next_step="Write FIELD, FIELD asc or FIELD desc."
            )
        return Order(_column(keys, words[0]), words[-1].lower() == "desc" and len(words) == 2)

    def conditions(self, keys: Mapping[str, str]) -> list[Condition]:
        return read_filter(self.filter, keys)

    def cursor(self) -> Cursor | None:
        if not self.page_token:
            return None
        try:
            padded = self.page_token + "=" * (-len(self.page_token) % 4)
            value, last_id, query = json.loads(base64.urlsafe_b64decode(padded))
        except (binascii.Error, ValueError, TypeError):
            raise InvalidInput(f"{self.page_token[:40]!r} is no page token of ours.") from None
        if query != self._query():
            raise InvalidInput(
                "The page token belongs to another query.",
                next_step="Keep sort_by and filter the same from page to page.",
            )
        return Cursor(str(value), str(last_id))

    def token(self, cursor: Cursor | None) -> str:
        if cursor is None:
            return ""
        told = json.dumps([cursor.value, cursor.id, self._query()])
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")

    def _query(self) -> str:
        return short(digest_of(json.dumps([self.sort_by, self.filter]).encode()))


def _list_request(
    page_size: int = 0, page_token: str = "", sort_by: str = "", filter: str = ""
) -> ListRequest:
    if page_size < 0:
        raise InvalidInput(f"page_size is {page_size}; it is at least 0.")
    return ListRequest(page_size, page_token, sort_by, filter)


Listing = Annotated[ListRequest, Depends(_list_request)]


def page_of(
    request: ListRequest,
    items: Sequence[Item],
    keys: Mapping[str, str],
    value_of: Callable[[Item, str], str],
    id_of: Callable[[Item], str],
) -> tuple[list[Item], int, str]:
    """One page of a list in memory, how many there are in all, and the next page's token."""
    conditions, order = request.conditions(keys), request.order(keys)
    found = [
        item for item in items if all(_holds(one, value_of(item, one.column)) for one in conditions)
    ]

    def place(item: Item) -> tuple[str, str]:
        return value_of(item, order.column), id_of(item)

    found.sort(key=place, reverse=order.is_descending)
    total, cursor = len(found), request.cursor()
    if cursor is not None:
        last = (cursor.value, cursor.id)
        is_beyond = operator.lt if order.is_descending else operator.gt
        found = [one for one in found if is_beyond(place(one), last)]
    page = found[: request.limit]
    following = Cursor(*place(page[-1])) if len(found) > len(page) else None
    return page, total, request.token(following)


def _holds(condition: Condition, value: str) -> bool:
    wanted = condition.value
    match condition.comparison:
        case Comparison.EQUALS:
            return bool(value == wanted)
        case Comparison.NOT_EQUALS:
            return bool(value != wanted)
        case Comparison.GREATER_THAN:
            return bool(value > wanted)
        case Comparison.GREATER_THAN_EQUALS:
            return bool(value >= wanted)
        case Comparison.LESS_THAN:
            return bool(value < wanted)
        case Comparison.LESS_THAN_EQUALS:
            return bool(value <= wanted)
        case Comparison.IN:
            return value in wanted
        case Comparison.NOT_IN:
            return value not in wanted
        case Comparison.IS_SUBSTRING:
            return wanted.lower() in value.lower()


def read_filter(text: str, keys: Mapping[str, str]) -> list[Condition]:
    """The predicates, all of which have to hold; InvalidInput names what cannot be read.

    >>> predicate = {"operation": 1, "key": "name", "stringValue": "nightly"}
    >>> read_filter(json.dumps({"predicates": [predicate]}), {"name": "display_name"})
    [Condition(column='display_name', comparison=<Comparison.EQUALS: 'equals'>, value='nightly')]
    """
    if not text.strip():
        return []
    try:
        document = json.loads(unquote(text) if text.lstrip().startswith("%") else text)
    except ValueError as error:
        raise InvalidInput(f"The filter is no JSON: {error}.") from None
    predicates = document.get("predicates", []) if isinstance(document, dict) else None
    if not isinstance(predicates, list) or not all(isinstance(one, dict) for one in predicates):
        raise InvalidInput(
            "The filter has another shape.",
            next_step='Write {"predicates": [{"operation": 1, "key": …, "stringValue": …}]}.',
        )
    return [_read_predicate(one, keys) for one in predicates]


def _read_predicate(given: Mapping[str, Any], keys: Mapping[str, str]) -> Condition:
    plain = {_snake(name): value for name, value in given.items()}
    told = plain.get("operation", plain.get("op"))
    named = _BY_NAME.get(str(told).upper()) if isinstance(told, str) else None
    operation = named or (OPERATIONS.get(told) if isinstance(told, int) else None)
    if operation is None:
        raise InvalidInput(
            f"The filter's operation is {told!r}.", next_step=nearest(str(told), _BY_NAME)
        )
    column = _column(keys, str(plain.get("key", "")))
    names = _LISTS if operation is Comparison.IN else _SCALARS
    values = [plain[name] for name in names if name in plain]
    if len(values) != 1:
        raise InvalidInput(
            f"The filter's {operation.name} on {plain.get('key')!r} needs one value.",
            next_step=f"Give one of {', '.join(names)}.",
        )
    if operation is Comparison.IN:
        several = values[0].get("values") if isinstance(values[0], dict) else None
        if not isinstance(several, list):
            raise InvalidInput('The values of IN are {"values": […]}.')
        return Condition(column, operation, [_text_of(column, one) for one in several])
    return Condition(column, operation, _text_of(column, values[0]))


def _text_of(column: str, value: Any) -> str:
    """Times are compared as the ISO text that the rows hold."""
    if not column.endswith(("_at", "_for")):
        return str(value)
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidInput(f"{value!r} is no time.", next_step="Write it as RFC 3339.") from None
    if at.tzinfo is None:
        raise InvalidInput(f"{value!r} has no time zone.", next_step="End it with Z.")
    return iso(at)


def _column(keys: Mapping[str, str], name: str) -> str:
    if name not in keys:
        raise InvalidInput(f"There is no field {name!r} here.", next_step=nearest(name, keys))
    return keys[name]


def _snake(name: str) -> str:
    """
    >>> _snake("stringValue")
    'string_value'
    """
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
