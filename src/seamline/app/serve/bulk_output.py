"""The table that a batch prediction fills: what it keeps of the rows, and whether it can take them.

Found out before the first row is answered: a million answers for a table that does not take them
are a long wait for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from seamline.app.platform import Platform
from seamline.app.serve.bulk_answer import TOLD
from seamline.app.serve.bulk_source import BulkSource
from seamline.data.declaration import DAY, DatasetDeclaration, Mode
from seamline.data.versions import find_dataset
from seamline.domain.errors import Conflict, InvalidInput
from seamline.serve.inputs.bulk_rows import columns_read
from seamline.serve.snapshots.snapshot import EndpointSpec


def plan_output(
    platform: Platform,
    source: BulkSource,
    spec: EndpointSpec,
    declared: DatasetDeclaration,
    columns: Sequence[str],
    to: str,
    name: str,
) -> tuple[DatasetDeclaration, tuple[str, ...]]:
    """(what is written, columns of the source that it keeps).

    Of a version its keys and what tells a row's day; of a query also what the model does not take:
    somebody has asked for it. `declared`: the source's; `to` is `name` in a project's words.
    Raises InvalidInput, NotFound or Conflict.
    """
    kept = _kept(source, spec, declared, columns)
    wanted = platform.declarations().datasets.get(to)
    output = _like(declared, kept, name) if wanted is None else replace(wanted, name=name)
    written = [*kept, *(one.name for one in spec.signature.outputs), *TOLD]
    if name == source.version.dataset:
        raise InvalidInput(
            f"{source.version.reference} cannot be answered into {name} itself.",
            next_step="Name another dataset with --to.",
        )
    columns_read(spec, list(columns))
    twice = sorted({one for one in written if written.count(one) > 1})
    if twice:
        raise InvalidInput(
            f"{source.name} keeps {', '.join(twice)}, which is also what is predicted.",
            next_step="Keys and times of the input have to have other names; a query can say AS.",
        )
    lacking = [one for one in output.named_columns if one not in written]
    if lacking:
        raise InvalidInput(
            f"Dataset {to} is declared with {', '.join(lacking)}; what is written to it has "
            f"{', '.join(written)}.",
            next_step="Select these columns, too, or name another dataset.",
        )
    _check_stands(platform, output, written)
    return output, kept


def _kept(
    source: BulkSource, spec: EndpointSpec, declared: DatasetDeclaration, columns: Sequence[str]
) -> tuple[str, ...]:
    named = [*declared.keys, *declared.day_columns]
    if source.query is not None:
        taken = {one.name for one in (*spec.signature.inputs, *spec.context)}
        named += [one for one in columns if one not in taken]
    return tuple(dict.fromkeys(one for one in named if one in columns and one != DAY))


def _like(declared: DatasetDeclaration, kept: Sequence[str], name: str) -> DatasetDeclaration:
    """As the source, as far as its columns are still there."""
    has_day = set(declared.day_columns) <= {*kept}
    has_keys = set(declared.keys) <= {*kept}
    return DatasetDeclaration(
        name,
        time=declared.time if has_day else None,
        date=declared.date if has_day else (),
        zone=declared.zone,
        keys=declared.keys if has_keys else (),
    )


def _check_stands(platform: Platform, output: DatasetDeclaration, written: Sequence[str]) -> None:
    """One that exists already takes more rows of its kind."""
    with platform.stores.db.read() as connection:
        found = find_dataset(connection, output.name)
    if found is None or output.mode is Mode.REPLACE:
        return
    names = [one.name for one in found.contract.columns]
    lacking = [one for one in names if one not in written]
    if lacking:
        raise Conflict(
            f"Dataset {output.name} exists, and has {', '.join(lacking)}, which the predictions "
            f"do not have; they are {', '.join(written)}.",
            next_step="Name another dataset with --to.",
        )
