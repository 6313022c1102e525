"""Where payloads are and where they are kept: from the environment, else from a file.

Never from the wheel: who packages a model does not say where other people's machines connect to.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seamline_loader.errors import ConfigurationError

SECTION = "loader"
SYSTEM_FILE = Path("/etc/seamline/loader.conf")
DEFAULT_CACHE_SIZE = "20GB"
#: Key in the file → variable.
VARIABLES = {
    "payloads": "SEAMLINE_PAYLOADS",
    "cache": "SEAMLINE_PAYLOAD_CACHE",
    "cache_size": "SEAMLINE_PAYLOAD_CACHE_SIZE",
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?))?B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class Configuration:
    """`locations`: base addresses or folders, in the order in which they are asked."""

    locations: tuple[str, ...] = field(repr=False)  # an address may hold a password
    cache: Path
    cache_bytes: int
    token: str | None = field(default=None, repr=False)
    endpoint: str | None = field(default=None, repr=False)


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """ConfigurationError names the setting, its value and where it was read."""
    settings = _read_files(_files(environ))
    for key, variable in VARIABLES.items():
        if environ.get(variable):
            settings[key] = (environ[variable], variable)
    locations, _ = settings.get("payloads", ("", ""))
    cache, _ = settings.get("cache", (str(_default_cache(environ)), ""))
    size, origin = settings.get("cache_size", (DEFAULT_CACHE_SIZE, ""))
    return Configuration(
        locations=tuple(part.strip() for part in locations.split(",") if part.strip()),
        cache=_expand(cache, environ),
        cache_bytes=parse_size(size, origin),
        token=environ.get("SEAMLINE_TOKEN") or None,
        endpoint=environ.get("SEAMLINE_ENDPOINT") or None,
    )


def parse_size(text: str, origin: str = "") -> int:
    """
    >>> parse_size("1.5 GB"), parse_size("64MiB"), parse_size("1000")
    (1500000000, 67108864, 1000)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        where = f" ({origin})" if origin else ""
        raise ConfigurationError(f"{text!r} is no size{where}. Write 20GB, 512MiB or a number.")
    number, unit, binary = match.groups(default="")
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit.upper()])


def _read_files(files: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Key → (value, the file that says so); a later file wins."""
    found: dict[str, tuple[str, str]] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            with path.open(encoding="utf-8") as file:
                parser.read_file(file)
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise ConfigurationError(f"{path} cannot be read: {error}. Correct it.") from error
        keys = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
        unknown = sorted(keys.keys() - VARIABLES.keys())
        if unknown or set(parser.sections()) - {SECTION}:
            strange = unknown or sorted(set(parser.sections()) - {SECTION})
            raise ConfigurationError(
                f"{path} holds {strange[0]!r}, which is not known. It has one section, "
                f"[{SECTION}], with {', '.join(VARIABLES)}."
            )
        found.update({key: (value, str(path)) for key, value in keys.items() if value})
    return found


def _files(environ: Mapping[str, str]) -> list[Path]:
    own = environ.get("XDG_CONFIG_HOME") or "~/.config"
    files = [SYSTEM_FILE, _expand(own, environ) / "seamline" / "loader.conf"]
    named = environ.get("SEAMLINE_LOADER_CONFIG")
    if named:
        path = _expand(named, environ)
        if not path.exists():
            raise ConfigurationError(f"SEAMLINE_LOADER_CONFIG names {path}, which is not there.")
        files.append(path)
    return files


def _default_cache(environ: Mapping[str, str]) -> Path:
    own = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expand(own, environ) / "seamline" / "payloads"


def _expand(text: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    if home and (text == "~" or text.startswith("~/")):
        return Path(home + text[1:])
    return Path(text).expanduser()
