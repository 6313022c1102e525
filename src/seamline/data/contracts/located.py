"""YAML of which every value knows its line, and means what it says.

Plain `no`, `on` and `1_000` stay texts (YAML 1.1 would make of Norway's code a false); what no
contract needs is refused: anchors (a small file could then be a huge value), tags, several
documents, keys that come twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import yaml

from seamline.domain.errors import InvalidInput, nearest

MAX_BYTES = 1 << 20
#: What lies deeper takes a reader of YAML time by the square: 5,000 brackets took nine seconds.
DEEPEST = 20
_INT = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Located:
    """A node of the file; `where` names it for people, as in `columns.minutes.type`."""

    node: yaml.Node
    file: str
    where: str = ""
    #: Of a table's entry: what names it, which may stand on another line.
    key: yaml.Node | None = None

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def error(self, message: str, next_step: str = "") -> InvalidInput:
        return InvalidInput(
            f"{self.file}:{self.line}: {message}", next_step=next_step, line=self.line
        )

    @property
    def at_key(self) -> Located:
        return self if self.key is None else Located(self.key, self.file, self.where)

    def fields(
        self, known: Collection[str], others: Mapping[str, str] | None = None
    ) -> dict[str, Located]:
        """Its entries; InvalidInput for a key that is not known. `others`: what other tools call
        them."""
        found = dict(self.entries())
        for key, value in found.items():
            if key not in known:
                owner = self.where or "a contract"
                raise value.at_key.error(
                    f"{owner} has no key {key!r}.", nearest_of(key, known, others)
                )
        return found

    def entries(self) -> Iterator[tuple[str, Located]]:
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self._name} has to be a table of keys and values.")
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(f"{self._name} has a key that is no text.")
            key = str(key_node.value)
            where = f"{self.where}.{key}".lstrip(".")
            if key in seen:
                raise Located(key_node, self.file, where).error(f"{where} is there twice.")
            seen.add(key)
            yield key, Located(value_node, self.file, where, key_node)

    def items(self) -> list[Located]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"{self._name} has to be a list.")
        return [
            Located(node, self.file, f"{self.where}[{at}]")
            for at, node in enumerate(self.node.value)
        ]

    def text(self) -> str:
        """The text as it is written, whatever else it might read as."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error(f"{self._name} has to be a text.")
        return str(self.node.value)

    def flag(self) -> bool:
        if not self._is_plain or self.text() not in ("true", "false"):
            raise self.error(f"{self._name} has to be true or false.")
        return self.text() == "true"

    def integer(self) -> int:
        if not self._is_plain or not _INT.fullmatch(self.text()) or len(self.text()) > 18:
            raise self.error(f"{self._name} has to be a whole number, not {self._shown}.")
        return int(self.text())

    def number(self) -> float:
        if not self._is_plain or not _FLOAT.fullmatch(self.text()) or len(self.text()) > 40:
            raise self.error(f"{self._name} has to be a number, not {self._shown}.")
        found = float(self.text())
        if math.isinf(found):
            raise self.error(f"{self._name} is beyond what a number can be.")
        return found

    @property
    def is_empty(self) -> bool:
        """Nothing stands behind its key."""
        return self._is_plain and not self.text()

    @property
    def is_table(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def _is_plain(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.style is None

    @property
    def _shown(self) -> str:
        return repr(self.node.value[:80]) if isinstance(self.node, yaml.ScalarNode) else "a list"

    @property
    def _name(self) -> str:
        return self.where or "the file"


def nearest_of(name: str, known: Collection[str], others: Mapping[str, str] | None = None) -> str:
    """
    >>> nearest_of("Minimum", ["at_least", "at_most"], {"minimum": "at_least"})
    'Did you mean at_least?'
    """
    meant = (others or {}).get(name.lower())
    return nearest(name, known) if meant is None else f"Did you mean {meant}?"


def read_yaml(text: str, file: str) -> Located:
    """Raises InvalidInput, with the line, for what is no YAML or what no contract needs.

    >>> table = read_yaml("a: {b: no}", "x.yaml")
    >>> table.fields(["a"])["a"].fields(["b"])["b"].text()
    'no'
    >>> table.fields(["c"])
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: x.yaml:1: a contract has no key 'a'. Known: c.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise InvalidInput(f"{file} has more than {MAX_BYTES:,} bytes.")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            _check_event(event, depth, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise InvalidInput(f"{file}:{line}: {error.problem}.", line=line) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{file} is not YAML as it stands: {error}.") from error
    if node is None:
        raise InvalidInput(f"{file} is empty.", next_step="seamline data contract infer NAME")
    return Located(node, file)


def _check_event(event: yaml.Event, depth: int, file: str) -> None:
    mark = event.start_mark
    line = 1 if mark is None else mark.line + 1
    if depth > DEEPEST:
        raise InvalidInput(
            f"{file}:{line}: lists and tables lie in one another more than {DEEPEST} deep here: "
            "in a contract, four are enough.",
            line=line,
        )
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise InvalidInput(f"{file}:{line}: anchors (& and *) are not known here.", line=line)
    if getattr(event, "tag", None):
        raise InvalidInput(f"{file}:{line}: tags (!) are not known here.", line=line)
