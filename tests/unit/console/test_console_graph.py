from __future__ import annotations

from graphlib import CycleError
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.console.graph import MARGIN, Drawing, Sizes, find_layers, lay_out, spread

NUMBERS = st.floats(-1000, 1000, allow_nan=False)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    names = [f"t{index}" for index in range(draw(st.integers(1, 14)))]
    pairs = list(combinations(names, 2))
    edges = draw(st.lists(st.sampled_from(pairs), max_size=25)) if pairs else []
    return names, edges


@given(graphs())
def test_boxes_never_overlap_and_edges_go_right(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    names, edges = graph
    drawing = lay_out(names, edges)
    assert [box.name for box in drawing.boxes] == names
    place = {box.name: box for box in drawing.boxes}
    for one, other in combinations(drawing.boxes, 2):
        assert one.x != other.x or abs(one.y - other.y) >= one.height
    for box in drawing.boxes:
        assert MARGIN <= box.x <= drawing.width - box.width - MARGIN
        assert MARGIN <= box.y <= drawing.height - box.height
    assert {(curve.source, curve.target) for curve in drawing.curves} == set(edges)
    for source, target in edges:
        assert place[source].x < place[target].x


@given(graphs())
def test_the_same_graph_is_drawn_the_same(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    names, edges = graph
    assert lay_out(names, edges) == lay_out(names, list(reversed(edges)))


@given(graphs())
def test_layers_are_by_longest_path(graph: tuple[list[str], list[tuple[str, str]]]) -> None:
    names, edges = graph
    layers = find_layers(names, edges)
    for name in names:
        feeding = [layers[source] for source, target in edges if target == name]
        if feeding:
            assert layers[name] == max(feeding) + 1


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.floats(1, 50))
def test_spread_keeps_order_and_distance(wanted: list[float], size: float) -> None:
    placed = spread(wanted, [size] * len(wanted), 4)
    for above, below in pairwise(placed):
        assert below - above >= size + 4 - 1e-6
    assert sum(placed) == pytest.approx(sum(wanted), abs=1e-3)


def test_an_edge_over_a_layer_passes_beside_the_boxes_there() -> None:
    names = ["a", "b", "c"]
    drawing = lay_out(names, [("a", "b"), ("b", "c"), ("a", "c")])
    long = next(curve for curve in drawing.curves if curve.target == "c" and curve.source == "a")
    middle = next(box for box in drawing.boxes if box.name == "b")
    level = float(long.path.split("H")[0].split()[-1])
    assert not middle.y <= level <= middle.y + middle.height


def test_a_straight_chain_is_drawn_straight() -> None:
    drawing = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c")], Sizes(width=100))
    assert len({box.y for box in drawing.boxes}) == 1
    assert drawing.width == 3 * 100 + 2 * Sizes().gap_x + 2 * MARGIN


def test_what_cannot_be_drawn() -> None:
    assert lay_out([], []) == Drawing(MARGIN, MARGIN, (), ())
    assert lay_out(["a"], [("a", "elsewhere")]).curves == ()
    with pytest.raises(CycleError):
        lay_out(["a", "b"], [("a", "b"), ("b", "a")])
