"""A dataset whose rows stay in a warehouse: pinned there, and copied only where that is asked."""

from __future__ import annotations

from typing import Any

from seamline.app.data.ingest_source import fetching_folder
from seamline.app.platform import Platform
from seamline.data.credentials import load_credentials
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import Bringer, take_in
from seamline.data.locations import Kind, Location, parse_location
from seamline.data.pins import list_pins, record_pin
from seamline.data.sources.warehouses.reading import pin_table, read_pinned
from seamline.domain.errors import InvalidInput
from seamline.promote.environments import TRAINING


def pin_dataset(platform: Platform, name: str, *, by: str, copy: bool = False) -> dict[str, Any]:
    """The table as it is now. `copy`: its rows at the pin become a version, too."""
    declaration = platform.declarations().dataset(name)
    location = _location(declaration)
    if copy and declaration.mode is not Mode.REPLACE:
        raise InvalidInput(
            f"Dataset {name} appends, and a pin is the whole table: rows would come twice.",
            next_step='Declare mode = "replace", or pin without copying.',
        )
    stores = platform.stores
    credentials = load_credentials(stores, TRAINING, declaration.credentials, location)
    pinned, is_new = record_pin(stores, name, pin_table(location, credentials), by=by)
    found = {**pinned.to_json(), "is_new": is_new}
    if not copy:
        return found
    with fetching_folder(platform) as folder:
        delivery = read_pinned(location, credentials, pinned.pin, folder)
        with platform.ingests.telling(name) as tell:
            taken = take_in(stores, declaration, delivery, Bringer(by), tell)
    return {**found, "version": {**taken.version.to_json(), "is_new": taken.is_new}}


def show_pins(platform: Platform, name: str) -> list[dict[str, Any]]:
    platform.declarations().dataset(name)
    return [pinned.to_json() for pinned in list_pins(platform.stores, name)]


def _location(declaration: DatasetDeclaration) -> Location:
    location = None if declaration.source is None else parse_location(declaration.source)
    if location is None or location.kind is not Kind.WAREHOUSE:
        raise InvalidInput(
            f"Dataset {declaration.name} declares no table of a warehouse.",
            next_step='Write source = "bigquery://PROJECT/DATASET/TABLE" (or databricks://, '
            "snowflake://); all else is ingested: seamline data ingest.",
        )
    return location
