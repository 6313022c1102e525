"""YAML as pipeline compilers write it, read in one pass over the parser's events.

A pipeline of 500 tasks is a megabyte. The YAML library builds a tree of nodes from it, and values
from that, each node through a dozen calls; here values are made as the events come, and most texts
(`parameterType` stands there a thousand times) are looked at once. What compilers do not write
(anchors, tags, merge keys, dates, keys that are no scalars) is left to the library, whose rules
for plain scalars hold here, too.
"""

from __future__ import annotations

from typing import Any

import yaml

_STR = "tag:yaml.org,2002:str"
_SIMPLE = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))


class TooDeep(ValueError):
    """It nests deeper than is allowed."""


class Unusual(Exception):
    """Only the library can tell what this means."""


def read_first(data: bytes, max_depth: int) -> Any:
    """The first document; the others are parsed, too, and what they hold is thrown away.

    None for a file that has no document. Raises yaml.YAMLError, TooDeep, or Unusual, the latter
    before the rest has been looked at.

    >>> read_first(b"{a: [1, yes, '1', ~, x y]}\\n---\\nb: 2", 9)
    {'a': [1, True, '1', None, 'x y']}
    >>> read_first(b"[[[[]]]]", 3)
    Traceback (most recent call last):
    seamline.register.pipelines.ir_events.TooDeep: it nests deeper than 3 levels
    """
    loader = yaml.CSafeLoader(data)
    try:
        documents = _Documents(loader, max_depth)
        loader.get_event()  # the stream's start
        first = None
        number = 0
        while isinstance(loader.get_event(), yaml.DocumentStartEvent):
            read = documents.read()
            first = read if number == 0 else first
            number += 1
        return first
    finally:
        loader.dispose()


class _Documents:
    """Builds one document after the other, without recursion."""

    def __init__(self, loader: Any, max_depth: int) -> None:
        """`loader`: an yaml.CSafeLoader, which has more than its stubs say."""
        self._loader = loader
        self._max_depth = max_depth
        self._known: dict[str, Any] = {}

    def read(self) -> Any:
        """After the document's start; its end is consumed."""
        get_event, known = self._loader.get_event, self._known
        # The outermost list takes the document itself; `keys` holds the key that waits in each.
        top: list[Any] = []
        here: Any = top
        key: Any = None
        is_map = has_key = False
        outer: list[tuple[Any, bool, Any]] = []
        while True:
            event = get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                text = event.value
                if event.tag is not None or event.anchor is not None:
                    raise Unusual
                if not event.implicit[0]:
                    value = text
                elif text in known:
                    value = known[text]
                else:
                    value = self._plain(text)
                if is_map and not has_key:
                    key, has_key = value, True
                    continue
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._check_start(event, len(outer), is_key=is_map and not has_key)
                outer.append((here, is_map, key))
                is_map, has_key = kind is yaml.MappingStartEvent, False
                here = {} if is_map else []
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                value = here
                here, is_map, key = outer.pop()
            elif kind is yaml.DocumentEndEvent:
                return top[0]
            else:  # an alias
                raise Unusual
            if is_map:
                here[key], has_key = value, False
            else:
                here.append(value)

    def _check_start(self, event: Any, depth: int, *, is_key: bool) -> None:
        if is_key or event.tag is not None or event.anchor is not None:
            raise Unusual
        if depth >= self._max_depth:
            raise TooDeep(f"it nests deeper than {self._max_depth} levels")

    def _plain(self, text: str) -> Any:
        """A scalar without quotes: what it is depends on how it looks."""
        tag = self._loader.resolve(yaml.ScalarNode, text, (True, False))
        if tag == _STR:
            value: Any = text
        elif tag in _SIMPLE:
            value = self._loader.construct_object(yaml.ScalarNode(tag, text))
        else:
            raise Unusual
        self._known[text] = value
        return value
