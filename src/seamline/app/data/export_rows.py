"""Rows leave: a dataset version, or the predictions of an endpoint, to a place that is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from seamline.app.data.ingest_source import fetching_folder
from seamline.app.platform import Platform
from seamline.app.serve.bulk_features import find_features
from seamline.data.credentials import load_credentials
from seamline.data.declaration import DAY
from seamline.data.locations import parse_location
from seamline.data.sinks.exports import Export, export_of_frame, export_of_version
from seamline.data.sinks.sending import Form, Target, decide_target, send
from seamline.data.sources.opening import check_local
from seamline.data.versions import find_version
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput
from seamline.promote.environments import TRAINING, find_environment
from seamline.serve.log.tables import read_predictions
from seamline.store.locks import one_at_a_time
from seamline.trust.refusals import require
from seamline.trust.roles import Principal, Verb


@dataclass(frozen=True)
class ExportOrder:
    """Where to, and with which secret of `environment`; days in [since, until) only, if given."""

    to: str
    form: Form | None = None
    table: str | None = None
    credentials: str | None = None
    environment: str = TRAINING
    since: date | None = None
    until: date | None = None


def export_dataset(
    platform: Platform, reference: str, order: ExportOrder, who: Principal
) -> dict[str, Any]:
    version = find_version(platform.stores, reference)
    export = export_of_version(platform.stores, version, order.since, order.until)
    return _send(platform, export, order, who)


def export_predictions(
    platform: Platform, endpoint: str, order: ExportOrder, who: Principal
) -> dict[str, Any]:
    """Those that are logged now, read into memory: name days where there are very many.

    Features that a batch has read from a dataset version leave with them; `features_gone` says why
    some do not.
    """
    frame = read_predictions(platform.stores, order.environment, endpoint, order.since, order.until)
    if frame.is_empty():
        raise InvalidInput(
            f"No predictions of {endpoint} are logged in {order.environment} in these days.",
            next_step="Name another environment, endpoint or time.",
        )
    logged = find_features(platform.stores, frame)
    frame = logged.rows.with_columns(pl.col(DAY).cast(pl.Date))
    what = f"predictions of {endpoint} in {order.environment}"
    sent = _send(platform, export_of_frame(what, frame, order.since, order.until), order, who)
    return {**sent, "features_gone": logged.gone}


def _send(platform: Platform, export: Export, order: ExportOrder, who: Principal) -> dict[str, Any]:
    stores = platform.stores
    with stores.db.read() as connection:
        find_environment(connection, order.environment)
    if order.environment != TRAINING:  # its secrets are used, and its tables written
        require(who, Verb.RELEASE, order.environment)
    location = parse_location(order.to)
    check_local(location, platform.root, is_admin=who.may(Verb.ADMINISTER))
    target = decide_target(location, order.form, order.table)
    credentials = load_credentials(stores, order.environment, order.credentials, location)
    with _alone(platform, target), fetching_folder(platform) as folder:
        sent = send(stores, export, target, folder, by=who.name, credentials=credentials)
    return {
        "what": export.what,
        "digest": export.digest,
        "target": target.name,
        "form": target.form,
        "rows": sent.rows,
        "is_new": sent.is_new,
    }


@contextmanager
def _alone(platform: Platform, target: Target) -> Iterator[None]:
    """One export at a time into one place; another waits, and finds what the first one left."""
    name = digest_of(target.name.encode()).removeprefix("sha256:")[:32]
    with one_at_a_time(platform.root, f"export-{name}"):
        yield
