"""Layered drawing of a directed acyclic graph, left to right. Pure; lengths in pixels.

Layers by longest path; an edge that spans several layers passes them through points of its own,
so that it never runs under a box. Order within a layer by barycentre, heights by least squares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

SWEEPS = 6
MARGIN = 6.0
#: A bend takes this much of a layer's height, a box takes `Sizes.height`.
BEND_HEIGHT = 10.0


@dataclass(frozen=True)
class Sizes:
    width: float = 190.0
    height: float = 48.0
    gap_x: float = 54.0
    gap_y: float = 16.0


@dataclass(frozen=True)
class Box:
    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Curve:
    source: str
    target: str
    #: The `d` of an SVG path.
    path: str


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


#: A box (its name), or the point where an edge crosses a layer.
Node = str | tuple[str, str, int]


def lay_out(
    names: Sequence[str], edges: Iterable[tuple[str, str]], sizes: Sizes | None = None
) -> Drawing:
    """Edges to or from unknown names are left out. Raises graphlib.CycleError on a cycle.

    >>> drawing = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    >>> [(box.name, box.x) for box in drawing.boxes]
    [('a', 6.0), ('b', 250.0), ('c', 494.0)]
    """
    sizes = sizes or Sizes()
    known = set(names)
    kept = sorted({(s, t) for s, t in edges if s in known and t in known}, key=_place(names))
    layer_of = find_layers(names, kept)
    chains = {edge: _chain(edge, layer_of) for edge in kept}
    layers = _fill_layers(names, layer_of, chains)
    before, after = _neighbours(chains.values())
    _order(layers, before, after)
    centre = _heights(layers, before, after, sizes)
    return _draw(names, layer_of, chains, centre, sizes)


def find_layers(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Longest path from a source; a source stands right before what first needs it.

    >>> find_layers("abcd", [("a", "b"), ("b", "c"), ("d", "c")])
    {'a': 0, 'b': 1, 'c': 2, 'd': 1}
    """
    needs: dict[str, set[str]] = {name: set() for name in names}
    feeds: dict[str, set[str]] = {name: set() for name in names}
    for source, target in edges:
        needs[target].add(source)
        feeds[source].add(target)
    layers: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        layers[name] = max((layers[one] + 1 for one in needs[name]), default=0)
    for name in names:
        if not needs[name] and feeds[name]:
            layers[name] = min(layers[one] for one in feeds[name]) - 1
    return {name: layers[name] for name in names}


def spread(wanted: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """Centres in the given order, without overlap, nearest to the wanted (least squares).

    >>> spread([10, 10], [20, 20], 4)
    [-2.0, 22.0]
    >>> spread([0, 100], [20, 20], 4)
    [0.0, 100.0]
    """
    offsets = [0.0]
    for above, below in pairwise(sizes):
        offsets.append(offsets[-1] + (above + below) / 2 + gap)
    # Isotonic regression: pool neighbours that would overlap, each pool at its mean.
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean = (mean * count + other * others) / (count + others)
            count += others
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _place(names: Sequence[str]) -> _Place:
    return _Place({name: index for index, name in enumerate(names)})


@dataclass(frozen=True)
class _Place:
    """Sort key of an edge: the places of its ends in the given order."""

    index: Mapping[str, int]

    def __call__(self, edge: tuple[str, str]) -> tuple[int, int]:
        return self.index[edge[0]], self.index[edge[1]]


def _chain(edge: tuple[str, str], layer_of: Mapping[str, int]) -> list[Node]:
    source, target = edge
    crossed = range(layer_of[source] + 1, layer_of[target])
    return [source, *((source, target, layer) for layer in crossed), target]


def _fill_layers(
    names: Sequence[str],
    layer_of: Mapping[str, int],
    chains: Mapping[tuple[str, str], list[Node]],
) -> list[list[Node]]:
    layers: list[list[Node]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for name in names:
        layers[layer_of[name]].append(name)
    for chain in chains.values():
        for node in chain:
            if isinstance(node, tuple):
                layers[node[2]].append(node)
    return layers


_Links = dict[Node, list[Node]]


def _neighbours(chains: Iterable[list[Node]]) -> tuple[_Links, _Links]:
    before: _Links = {}
    after: _Links = {}
    for chain in chains:
        for one, next_one in pairwise(chain):
            after.setdefault(one, []).append(next_one)
            before.setdefault(next_one, []).append(one)
    return before, after


def _order(layers: list[list[Node]], before: _Links, after: _Links) -> None:
    """Sorts each layer by the mean place of its neighbours, forwards and backwards."""
    for sweep in range(SWEEPS):
        forwards = sweep % 2 == 0
        links = before if forwards else after
        place = {node: index for layer in layers for index, node in enumerate(layer)}
        for layer in layers if forwards else reversed(layers):
            mean = {
                node: (
                    sum(place[other] for other in links[node]) / len(links[node])
                    if node in links
                    else float(place[node])
                )
                for node in layer
            }
            layer.sort(key=mean.__getitem__)
            place.update((node, index) for index, node in enumerate(layer))


def _heights(
    layers: list[list[Node]], before: _Links, after: _Links, sizes: Sizes
) -> dict[Node, float]:
    """Vertical centres, the topmost edge at MARGIN."""
    tall = [[_tall(node, sizes) for node in layer] for layer in layers]
    centre: dict[Node, float] = {}
    for layer, heights in zip(layers, tall, strict=True):
        start = spread([0.0] * len(layer), heights, sizes.gap_y)
        centre.update(zip(layer, start, strict=True))
    for sweep in range(SWEEPS):
        links = before if sweep % 2 == 0 else after
        order = range(len(layers)) if sweep % 2 == 0 else reversed(range(len(layers)))
        for index in order:
            layer = layers[index]
            wanted = [
                sum(centre[other] for other in links[node]) / len(links[node])
                if node in links
                else centre[node]
                for node in layer
            ]
            placed = spread(wanted, tall[index], sizes.gap_y)
            centre.update(zip(layer, placed, strict=True))
    top = min((y - _tall(node, sizes) / 2 for node, y in centre.items()), default=0.0)
    return {node: y - top + MARGIN for node, y in centre.items()}


def _tall(node: Node, sizes: Sizes) -> float:
    return sizes.height if isinstance(node, str) else BEND_HEIGHT


def _draw(
    names: Sequence[str],
    layer_of: Mapping[str, int],
    chains: Mapping[tuple[str, str], list[Node]],
    centre: Mapping[Node, float],
    sizes: Sizes,
) -> Drawing:
    step = sizes.width + sizes.gap_x
    left = {name: MARGIN + layer_of[name] * step for name in names}
    boxes = tuple(
        Box(name, left[name], round(centre[name] - sizes.height / 2, 1), sizes.width, sizes.height)
        for name in names
    )
    curves = tuple(
        Curve(source, target, _path(chain, left, centre, sizes))
        for (source, target), chain in chains.items()
    )
    deepest = max((y + _tall(node, sizes) / 2 for node, y in centre.items()), default=0.0)
    widest = max((x + sizes.width for x in left.values()), default=0.0)
    return Drawing(widest + MARGIN, round(deepest + MARGIN, 1), boxes, curves)


def _path(
    chain: list[Node], left: Mapping[str, float], centre: Mapping[Node, float], sizes: Sizes
) -> str:
    """From the right side of the source to the left side of the target, level at both ends."""
    x, y = left[str(chain[0])] + sizes.width, centre[chain[0]]
    parts = [f"M{x:.1f} {y:.1f}"]
    for node in chain[1:]:
        to_x, to_y = x + sizes.gap_x, centre[node]
        middle = x + sizes.gap_x / 2
        parts.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
        if isinstance(node, tuple):
            x += sizes.width
            parts.append(f"H{x:.1f}")
    return "".join(parts)
