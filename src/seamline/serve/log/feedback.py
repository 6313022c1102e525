"""Feedback: the truth or a reward for a prediction, often days later.

Kept whatever it refers to; the last word per prediction counts when it is read. Unlike a
prediction's log row it is durable before it is acknowledged: nobody could send it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import msgspec
import pyarrow as pa

from seamline.domain.clock import Clock, iso, new_id
from seamline.domain.errors import InvalidInput, Unavailable
from seamline.serve.log.segment_log import SegmentLog

FOLDER = "feedback"
#: A row's place has 32 bits in the log.
LAST_ROW = 999_999_999

SCHEMA = pa.schema(
    [
        ("received_id", pa.string()),
        ("position", pa.int32()),
        ("at", pa.timestamp("us", "UTC")),
        ("ds", pa.date32()),
        ("environment", pa.string()),
        ("endpoint", pa.string()),
        ("prediction_id", pa.string()),
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("truth", pa.string()),
        ("reward", pa.float64()),
        ("label_at", pa.string()),
        ("principal", pa.string()),
        ("plane", pa.string()),
    ]
)


class FeedbackItem(msgspec.Struct):
    """As it is sent. `prediction_id` may end in `:row`; `id` is the caller's own request id."""

    prediction_id: str | None = None
    id: str | None = None
    row: int | None = None
    truth: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    reward: float | None = None
    at: str | None = None


class FeedbackBody(msgspec.Struct):
    feedback: list[FeedbackItem]


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    received_id: str
    position: int
    at: datetime
    environment: str
    endpoint: str | None
    prediction_id: str | None
    request_id: str | None
    row: int
    truth: str | None
    reward: float | None
    label_at: str | None
    #: Who sent it; None where no token was asked for.
    principal: str | None

    @property
    def ds(self) -> date:
        return self.at.date()


def split_prediction_id(text: str) -> tuple[str, int]:
    """
    >>> split_prediction_id("019b76da-a800-7000-8000-000000000000:3")
    ('019b76da-a800-7000-8000-000000000000', 3)
    >>> split_prediction_id("019b76da-a800-7000-8000-000000000000")[1]
    0
    """
    prediction_id, colon, row = text.partition(":")
    if colon and not (row.isascii() and row.isdigit() and len(row) < 10):
        raise InvalidInput(
            f"{text!r} is not the id of a prediction.", next_step="Write <prediction_id>:<row>."
        )
    return prediction_id, int(row or 0)


def read_feedback_body(body: bytes) -> list[FeedbackItem]:
    """{"feedback": [item, …]} or one item alone."""
    try:
        many = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if "feedback" in many:
            return msgspec.json.decode(body, type=FeedbackBody).feedback
        return [msgspec.json.decode(body, type=FeedbackItem)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"The feedback cannot be read: {error}.") from error


def rows_of_feedback(
    items: Sequence[FeedbackItem],
    environment: str,
    endpoint: str | None,
    clock: Clock,
    principal: str | None = None,
) -> list[FeedbackRow]:
    """All rows, or InvalidInput for the first item that says nothing or names nothing."""
    at, received_id = clock.now(), new_id(clock)
    rows = []
    for position, item in enumerate(items):
        truth = _truth(item, position)
        if truth in ("", "null") and item.reward is None:
            raise InvalidInput(f"Feedback {position} holds neither truth nor reward.")
        if not item.prediction_id and not item.id:
            raise InvalidInput(
                f"Feedback {position} names no prediction.",
                next_step="Send prediction_id, or the id of your request.",
            )
        prediction_id, row = split_prediction_id(item.prediction_id or "")
        row = _row_of(item, row, position)
        rows.append(
            FeedbackRow(
                received_id,
                position,
                at,
                environment,
                endpoint,
                prediction_id or None,
                item.id,
                row,
                None if truth in ("", "null") else truth,
                item.reward,
                _label_time(item, position),
                principal,
            )
        )
    if not rows:
        raise InvalidInput("The feedback holds no items.")
    return rows


async def record_feedback(
    log: SegmentLog[Sequence[FeedbackRow]], rows: Sequence[FeedbackRow]
) -> None:
    """Returns once every row is durable."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def finish(problem: Exception | None) -> None:
        if not written.done():
            if problem is None:
                written.set_result(None)
            else:
                written.set_exception(Unavailable(f"The feedback was not written: {problem}."))

    def finish_in_loop(problem: Exception | None) -> None:
        loop.call_soon_threadsafe(finish, problem)

    log.append(rows, finish_in_loop)
    await written


def place_of_feedback(rows: Sequence[FeedbackRow]) -> tuple[str, int]:
    """An entry holds the rows of one request, so of one environment."""
    return rows[0].environment, len(rows)


def feedback_batches(
    entries: Sequence[Sequence[FeedbackRow]], plane: str | None = None
) -> list[pa.RecordBatch]:
    """`plane` names the machine of a data plane elsewhere."""
    return [_batch([row for rows in entries for row in rows], plane)]


def _batch(rows: Sequence[FeedbackRow], plane: str | None) -> pa.RecordBatch:
    told = {
        one.name: [getattr(row, one.name) for row in rows] for one in SCHEMA if one.name != "plane"
    }
    return pa.RecordBatch.from_pydict({**told, "plane": [plane] * len(rows)}, schema=SCHEMA)


def _truth(item: FeedbackItem, position: int) -> str:
    """As it was sent: JSON, with numbers that there are."""
    text = bytes(item.truth)
    if text:
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(
                f"Feedback {position}: its truth cannot be read: {error}."
            ) from error
    return text.decode()


def _row_of(item: FeedbackItem, named: int, position: int) -> int:
    """The one that `row` says, or `named` of the id `PREDICTION:row`."""
    row = named if item.row is None else item.row
    if not 0 <= row <= LAST_ROW:
        raise InvalidInput(
            f"Feedback {position}: row is {row}; the first row is 0, the last {LAST_ROW:,}."
        )
    if row != named and ":" in (item.prediction_id or ""):
        raise InvalidInput(
            f"Feedback {position} names two rows: {item.prediction_id} and {row}.",
            next_step="Leave one of them out.",
        )
    return row


def _label_time(item: FeedbackItem, position: int) -> str | None:
    if item.at is None:
        return None
    try:
        moment = datetime.fromisoformat(item.at)
        return item.at if moment.tzinfo is None else iso(moment)
    except (ValueError, OverflowError):  # in UTC it may be before the year 1
        raise InvalidInput(
            f"Feedback {position}: at is {item.at!r}.", next_step="Send ISO 8601."
        ) from None
