"""The one door to the three warehouses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from seamline.data.credentials import Credentials, told_without_secrets
from seamline.data.locations import Location
from seamline.data.sources.batches import Delivery, spool
from seamline.data.sources.warehouses.bigquery import BigQuery
from seamline.data.sources.warehouses.databricks import Databricks
from seamline.data.sources.warehouses.pins import Pin, Place, Warehouse
from seamline.data.sources.warehouses.snowflake import Snowflake

_WAREHOUSES: Mapping[str, Callable[[Place], Warehouse]] = {
    "bigquery": BigQuery,
    "databricks": Databricks,
    "snowflake": Snowflake,
}
_CHECK = "Check the table's name, the credentials and what they may read."


@contextmanager
def _opened(location: Location, credentials: Credentials) -> Iterator[Warehouse]:
    """The libraries raise errors of many kinds; what each says is told, without the secrets."""
    what = f"{location.bare} cannot be read"
    with (
        told_without_secrets(what, credentials, (Exception,), _CHECK),
        closing(_WAREHOUSES[location.scheme](Place(location, credentials))) as opened,
    ):
        yield opened


def pin_table(location: Location, credentials: Credentials) -> Pin:
    with _opened(location, credentials) as warehouse:
        return warehouse.pin()


def read_pinned(location: Location, credentials: Credentials, pin: Pin, folder: Path) -> Delivery:
    """All rows at the pin, copied."""
    name = f"{pin.uri} at {pin.kind} {pin.value}"
    with _opened(location, credentials) as warehouse:
        return spool(warehouse.rows(pin), folder / "rows.arrow", name=name, asked=pin.uri)
