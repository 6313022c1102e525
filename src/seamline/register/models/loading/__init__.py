"""Load this package's model, once its bytes are the recorded ones, and predict with it.

This folder goes into each model wheel as its private package `_loader`. It needs the standard
library, numpy and the model's own framework; nothing of the platform. It works from a folder, from
a wheel on sys.path (zipimport), and from memory: everything is read through the package's loader.
"""

from .columns import TYPES, read_columns
from .model import Model
from .opening import ADAPTERS, PAYLOADS, TWIN, load_model, load_twin, open_estimator, open_model
from .versions import check_python, check_versions

__all__ = [
    "ADAPTERS",
    "PAYLOADS",
    "TWIN",
    "TYPES",
    "Model",
    "check_python",
    "check_versions",
    "load_model",
    "load_twin",
    "open_estimator",
    "open_model",
    "read_columns",
]
