"""Which key this user has pinned for which workspace.

A pin is kept with its user, away from the workspace: who can rewrite the one must not reach the
other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from seamline.domain.errors import InvalidInput
from seamline.domain.settings import Settings
from seamline.store.blobs import write_atomically


def pins_path(environ: Mapping[str, str]) -> Path:
    """
    >>> pins_path({"XDG_CONFIG_HOME": "/home/ann/.config"}).as_posix()
    '/home/ann/.config/seamline/pinned-keys.json'
    """
    folder = environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(folder) / "seamline" / "pinned-keys.json"


def place_of(settings: Settings) -> str:
    """What a pin is kept for: the server that is spoken to, or the workspace's folder."""
    return settings.url.rstrip("/") or str(settings.workspace.resolve())


def pinned_key(settings: Settings, path: Path) -> str | None:
    """The setting goes first, then what `seamline key pin` has kept."""
    return settings.pinned_key or _read(path).get(place_of(settings))


def keep_pin(settings: Settings, path: Path, public_key: str) -> None:
    pins = {**_read(path), place_of(settings): public_key}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(pins, indent=2, sort_keys=True).encode() + b"\n")


def _read(path: Path) -> dict[str, str]:
    """Fails closed: a file that cannot be read is not taken for one without pins."""
    try:
        document = json.loads(path.read_bytes())
        return {str(place): str(key) for place, key in document.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"{path} cannot be read: {error}.",
            next_step="Restore it, or delete it and pin again with seamline key pin.",
        ) from error
