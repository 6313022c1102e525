"""What `[datasets.NAME.mirror]` says: which rows another environment gets, and what of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from seamline.domain.errors import InvalidInput
from seamline.store.canonical import digest_of_json


class Mask(StrEnum):
    #: The column is left out.
    DROP = "drop"
    #: HMAC-SHA256 with a key from the environment's secrets: the same value gives the same text.
    HASH = "hash"
    #: One value in every row (missing stays missing): see `constants`.
    CONSTANT = "constant"
    #: The column's own values in an order that the secret decides: each column by itself.
    SHUFFLE = "shuffle"


@dataclass(frozen=True)
class MirrorDeclaration:
    """A sample of the keys, its columns masked: what may leave the environment."""

    #: Share of the keys, chosen by a hash of key and seed: the same keys each time.
    fraction: float = 1.0
    #: Another seed chooses other keys.
    seed: int = 0
    #: Columns whose rows stay together; not said: the dataset's keys, or all columns.
    keys: tuple[str, ...] = ()
    #: Column → what becomes of it: drop, hash, constant or shuffle.
    mask: Mapping[str, Mask] = field(default_factory=dict)
    #: What stands in the columns that are masked as `constant`.
    constants: Mapping[str, str] = field(default_factory=dict)
    #: Secret of the source's environment; its key `key` is what is hashed and shuffled with.
    secret: str | None = None
    #: How far a column that is not masked may be from its source (population stability index).
    max_psi: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise InvalidInput(
                f"A mirror holds a fraction of the rows above 0 and up to 1, not {self.fraction}.",
                next_step="Write fraction = 0.1, or leave it out for all of them.",
            )
        if self.max_psi <= 0:
            raise InvalidInput(
                f"max_psi has to be above 0, not {self.max_psi}.",
                next_step="Write max_psi = 0.1: columns may be so far from their source.",
            )
        constant = {name for name, mask in self.mask.items() if mask is Mask.CONSTANT}
        if constant != set(self.constants):
            raise InvalidInput(
                f"Masked as constant are {sorted(constant)}; constants has "
                f"{sorted(self.constants)}.",
                next_step="Give each of them its value in constants.",
            )
        if {Mask.HASH, Mask.SHUFFLE} & set(self.mask.values()) and self.secret is None:
            raise InvalidInput(
                "Columns are to be hashed or shuffled, and no secret is named.",
                next_step='Write secret = "NAME", and set it: seamline secret set NAME key.',
            )

    @property
    def digest(self) -> str:
        """Also that of the blob which it is kept in. The secret itself is no part of it."""
        return digest_of_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        mask = {name: str(mask) for name, mask in self.mask.items()}
        return {
            **asdict(self),
            "keys": list(self.keys),
            "mask": mask,
            "constants": dict(self.constants),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MirrorDeclaration:
        """
        >>> made = MirrorDeclaration(0.1, mask={"name": Mask.DROP})
        >>> MirrorDeclaration.from_json(made.to_json()) == made
        True
        """
        mask = {name: Mask(value) for name, value in data["mask"].items()}
        return cls(**{**data, "keys": tuple(data["keys"]), "mask": mask})
