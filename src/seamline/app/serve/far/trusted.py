"""By which key a data plane elsewhere trusts its origin: pinned once, followed as it rotates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from seamline.domain.errors import InvalidInput, Refused
from seamline.store.blobs import write_atomically
from seamline.trust.key_history import check_pin, read_history
from seamline.trust.keys import KEYS, PublicKey, load_public_key, parse_public_key

FILE_NAME = "origin.json"


@dataclass(frozen=True)
class Pin:
    """What a root follows, the key that its history has to lead from, and that history as it was
    last (signed entries): also while nobody can be asked, it tells which keys came before."""

    url: str
    environment: str
    public_key: str
    history: list[str]


def read_pin(root: Path) -> Pin | None:
    """Fails closed: a file that cannot be read is not taken for a first use."""
    path = root / FILE_NAME
    try:
        return Pin(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"{path} cannot be read: {error}.",
            next_step="Restore it, or serve from another folder.",
        ) from error


def write_pin(root: Path, pin: Pin) -> None:
    write_atomically(root / FILE_NAME, json.dumps(asdict(pin), indent=1).encode())


def check_no_origin(root: Path) -> None:
    """Refused for a folder that follows another workspace: it cannot be one."""
    if (root / FILE_NAME).exists():
        raise Refused(
            f"{root} is the folder of a data plane that follows another workspace.",
            next_step="Start it with seamline serve --from URL, or choose another --workspace.",
        )


def read_key(text: str) -> str:
    """What --key gives: a file with a public key (PEM, or its text), or a key's id or text."""
    path = Path(text)
    if not path.is_file():
        return text
    try:
        return load_public_key(path).text
    except ValueError:
        return parse_public_key(path.read_text("utf-8", "replace").strip()).text


def current_key(history: Sequence[bytes], wanted: str) -> PublicKey:
    """The key that signs now. Refused unless the history leads to it from the one that is wanted
    (empty: any, at first use)."""
    found = read_history(history)
    if wanted:
        check_pin(found, wanted)
    return found.current.public


def check_wanted(pin: Pin, wanted: str) -> None:
    """Refused where what is asked for is none of the keys that led here."""
    current_key([entry.encode() for entry in pin.history], wanted)


def known_key(root: Path) -> PublicKey | None:
    """The key that was trusted last; None before there was one."""
    path = root / KEYS / "signing.pub"
    try:
        return load_public_key(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}.") from error
