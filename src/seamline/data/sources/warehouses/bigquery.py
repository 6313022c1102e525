"""BigQuery: `FOR SYSTEM_TIME AS OF`, by google-cloud-bigquery."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import polars as pl

from seamline.data.sources.batches import frame_of
from seamline.data.sources.plain import plain_frame
from seamline.data.sources.warehouses.pins import Pin, PinKind, Place, load_client
from seamline.domain.errors import InvalidInput

_PAGE_ROWS = 10_000


class BigQuery:
    """`bigquery://PROJECT/DATASET/TABLE`. Credentials: `service_account_key` (its JSON), or
    `token` (OAuth 2); `endpoint` where it is not the public one; `billing_project`."""

    def __init__(self, place: Place) -> None:
        dataset, table = place.checked_names("dataset", "table")
        self._place = place
        self._table = f"{place.location.host}.{dataset}.{table}"
        self._library = load_client("google.cloud.bigquery", "bigquery")
        endpoint = place.credentials.get("endpoint")
        self._client = self._library.Client(
            project=place.credentials.get("billing_project") or place.location.host,
            credentials=self._identity(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def pin(self) -> Pin:
        """The service's own clock says which moment it is."""
        (row,) = self._ask("SELECT CURRENT_TIMESTAMP() AS at")
        at: datetime = row["at"]
        moment = at.isoformat(timespec="microseconds")
        statement = self._statement("*", moment)
        table = self._client.get_table(self._table)
        columns = tuple((field.name, _type_of(field)) for field in table.schema)
        (row,) = self._ask(self._statement("COUNT(*) AS n", moment))
        uri = self._place.location.bare
        return Pin(uri, PinKind.TIME, moment, statement, columns, int(row["n"]))

    def rows(self, pin: Pin) -> Iterator[pl.DataFrame]:
        found = self._client.query_and_wait(pin.statement, page_size=_PAGE_ROWS)
        for batch in found.to_arrow_iterable(bqstorage_client=None):
            yield plain_frame(frame_of(batch), pin.uri)

    def close(self) -> None:
        self._client.close()

    def _statement(self, what: str, moment: str) -> str:
        return f"SELECT {what} FROM `{self._table}` FOR SYSTEM_TIME AS OF TIMESTAMP '{moment}'"  # noqa: S608

    def _ask(self, statement: str) -> list[Any]:
        return list(self._client.query_and_wait(statement))

    def _identity(self) -> Any:
        if self._place.credentials.uses_machine:
            return None  # the library asks the machine
        token = self._place.credentials.get("token")
        if token is not None:
            return load_client("google.oauth2.credentials", "bigquery").Credentials(token=token)
        accounts = load_client("google.oauth2.service_account", "bigquery").Credentials
        try:
            key = json.loads(self._place.need("service_account_key"))
            return accounts.from_service_account_info(key)
        except (ValueError, TypeError):
            raise InvalidInput(
                f"service_account_key of the credentials {self._place.credentials.name} is no key.",
                next_step="Set it to the JSON file that Google Cloud gave you.",
            ) from None


def _type_of(field: Any) -> str:
    return f"{field.field_type}{' REPEATED' if field.mode == 'REPEATED' else ''}"
