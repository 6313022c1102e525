"""What a thin model wheel stands on: the payload by digest, or the model by API.

Standard library only. A wheel's `load()` calls `load_thin`, its `load_twin()` calls
`load_thin_twin`; nothing else is needed of it.
"""

from __future__ import annotations

import json
import logging
import os
import pkgutil
from collections.abc import Callable
from typing import Any

from seamline_loader.configuration import read_configuration
from seamline_loader.errors import (
    CacheUnusable,
    ConfigurationError,
    DiskFull,
    EndpointError,
    LoaderError,
    NoLocation,
    NotAllowed,
    NotThere,
    Unreachable,
    WrongBytes,
)
from seamline_loader.payloads import Payloads

__all__ = [
    "CacheUnusable",
    "ConfigurationError",
    "DiskFull",
    "EndpointError",
    "LoaderError",
    "NoLocation",
    "NotAllowed",
    "NotThere",
    "Payloads",
    "Unreachable",
    "WrongBytes",
    "load_thin",
    "load_thin_twin",
    "read_configuration",
]
__version__ = "1.1.0"


def load_thin(package: str, loader: Any) -> Any:
    """The model of a thin wheel. `loader`: the `_loader` that the wheel carries, which verifies
    and opens the bytes as it does in a fat wheel.

    A cached payload that was altered since is refused by that loader; it is dropped, and fetched
    anew once.
    """
    configuration = read_configuration(os.environ)
    if configuration.endpoint:
        from seamline_loader.remote import RemoteModel  # a load from the cache does without

        document = json.loads(pkgutil.get_data(package, "model.json") or b"")
        return RemoteModel(
            document, loader.read_columns, configuration.endpoint, configuration.token
        )
    return _load(loader.load_model, package, Payloads(configuration))


def load_thin_twin(package: str, loader: Any) -> Any:
    """Its ONNX twin, fetched as the model is; also where SEAMLINE_ENDPOINT is set."""
    return _load(loader.load_twin, package, Payloads(read_configuration(os.environ)))


def _load(load: Callable[..., Any], package: str, payloads: Payloads) -> Any:
    try:
        return load(package, payloads.read)
    except Exception as error:
        if not payloads.forget_altered():
            raise
        logging.getLogger(__name__).warning("A cached payload is fetched anew: %s", error)
        return load(package, payloads.read)
