"""In which units a model's columns are, where somebody has said so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seamline.app.declarations import Declarations, ModelDeclaration
from seamline.data.versions import find_version
from seamline.domain.errors import InvalidInput, nearest
from seamline.register.models.documents import DatasetVersionRef
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Measured:
    """The columns of a dataset version that a model was trained on, and what is said of them."""

    columns: Collection[str]
    units: Mapping[str, str]


def with_units(
    stores: Stores,
    declarations: Declarations,
    model: ModelDeclaration,
    read: Iterable[DatasetVersionRef],
    signature: Mapping[str, Any],
) -> dict[str, Any]:
    """The signature, its columns with `unit` where that is known.

    `read`: the dataset versions that the training run read. What their declarations say now counts.
    """
    datasets = []
    for one in read:
        declared = declarations.datasets.get(one.name)
        if declared is not None and declared.units:
            version = find_version(stores, f"{one.name}@{one.version}")
            datasets.append(Measured([name for name, _ in version.schema], declared.units))
    inputs = [column["name"] for column in signature["inputs"]]
    outputs = [column["name"] for column in signature["outputs"]]
    units = decide_units(model.name, inputs, outputs, model.units, datasets)
    return {
        part: [
            {**column, "unit": units[column["name"]]} if column["name"] in units else dict(column)
            for column in columns
        ]
        for part, columns in signature.items()
    }


def decide_units(
    model: str,
    inputs: Collection[str],
    outputs: Collection[str],
    own: Mapping[str, str],
    datasets: Iterable[Measured],
) -> dict[str, str]:
    """Column → unit. What `[models.NAME.units]` says goes first, and an empty unit there says that
    it has none; a dataset speaks for the inputs that are columns of it, where no other says
    something else. InvalidInput for a name that is no column of the model.

    >>> flights = Measured(["distance", "hour"], {"distance": "mi", "hour": "h"})
    >>> decide_units("delay", ["distance", "speed"], ["prediction"], {"speed": "kn"}, [flights])
    {'distance': 'mi', 'speed': 'kn'}
    >>> abroad = Measured(["distance"], {"distance": "km"})
    >>> decide_units("delay", ["distance"], [], {}, [flights, abroad])
    {}
    """
    for name in own:
        if name not in inputs and name not in outputs:
            raise InvalidInput(
                f"[models.{model}.units] names {name!r}, which is no column of the model.",
                next_step=nearest(name, [*inputs, *outputs]),
            )
    said: dict[str, set[str]] = {name: set() for name in inputs}
    for dataset in datasets:
        for name in said:
            if name in dataset.columns and dataset.units.get(name):
                said[name].add(dataset.units[name])
    agreed = {name: units.pop() for name, units in said.items() if len(units) == 1}
    return {name: unit for name, unit in {**agreed, **own}.items() if unit}
