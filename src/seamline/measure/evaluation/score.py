"""From contenders to a scorecard: overall, per slice, against rivals. No metric is named here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seamline.measure.evaluation.blocks import Blocks, RowStatistics
from seamline.measure.evaluation.cells import Coded
from seamline.measure.evaluation.estimates import CONFIDENCE, Estimate
from seamline.measure.evaluation.jackknife import Ints, Measure, Spread
from seamline.measure.evaluation.metrics.arrays import number_or_none
from seamline.measure.evaluation.scorecard import Estimates, Scorecard
from seamline.measure.evaluation.slices import (
    CANDIDATE,
    Slices,
    estimate_gap,
    estimate_slices,
)
from seamline.measure.evaluation.vocabulary import Task

#: A slice with fewer rows gets values without intervals.
MIN_ROWS = 200
#: Numbers in the tables of slices that are worked on at once, over all contenders.
_AT_ONCE = 16_000_000


@dataclass(frozen=True)
class Settings:
    """How intervals are made. They draw nothing: `seed` joins blocks where there are too many."""

    min_rows: int = MIN_ROWS
    confidence: float = CONFIDENCE
    seed: int = 0


@dataclass(frozen=True)
class Contender:
    """One set of predictions: what each row adds to its block, and how a table is measured."""

    rows: RowStatistics
    measure: Measure


@dataclass
class _Column:
    """What is found of one slice column, chunk by chunk."""

    own: dict[str, Estimates] = field(default_factory=dict)
    apart: dict[str, dict[str, Estimates]] = field(default_factory=dict)
    spreads: dict[str, list[Spread]] = field(default_factory=dict)


def score(
    task: Task,
    contenders: Mapping[str, Contender],
    blocks: Blocks,
    slices: Mapping[str, Coded],
    settings: Settings,
    **more: Any,
) -> Scorecard:
    """`more`: what only this task's scorecard has. What no float holds is not defined."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _score(task, contenders, blocks, slices, settings, more)


def _score(
    task: Task,
    contenders: Mapping[str, Contender],
    blocks: Blocks,
    slices: Mapping[str, Coded],
    settings: Settings,
    more: Mapping[str, Any],
) -> Scorecard:
    measures = {who: contender.measure for who, contender in contenders.items()}
    spreads = tabulate_whole(contenders, blocks).spreads(measures)
    level = settings.confidence
    estimated = {
        who: estimate_slices([""], found, level, is_apart=who.startswith("-"))[""]
        for who, found in spreads.items()
    }
    rivals = [who for who in contenders if who != CANDIDATE]
    columns = {
        column: _score_column(contenders, blocks, coded, settings)
        for column, coded in slices.items()
    }
    gaps = {column: _gaps(found, settings.confidence) for column, found in columns.items()}
    return Scorecard(
        task=task,
        overall=estimated[CANDIDATE],
        slices={column: found.own for column, found in columns.items()},
        rivals={who: estimated[who] for who in rivals},
        differences={who: estimated[f"-{who}"] for who in rivals},
        n_rows=len(blocks.codes),
        n_blocks=blocks.n_declared,
        first_block=blocks.first,
        last_block=blocks.last,
        min_rows=settings.min_rows,
        confidence=level,
        seed=settings.seed,
        slice_differences={
            who: {column: found.apart[f"-{who}"] for column, found in columns.items()}
            for who in rivals
            if columns
        },
        gaps={column: found for column, found in gaps.items() if found},
        **more,
    )


def _score_column(
    contenders: Mapping[str, Contender], blocks: Blocks, coded: Coded, settings: Settings
) -> _Column:
    """Slices under the minimum size get values only, so they need no tables by block."""
    measures = {who: contender.measure for who, contender in contenders.items()}
    apart = [f"-{who}" for who in contenders if who != CANDIDATE]
    column = _Column(apart={who: {} for who in apart})
    n_rows = np.bincount(coded.codes, minlength=len(coded.names))
    level, least = settings.confidence, settings.min_rows
    for chunk in _tabulate(contenders, blocks, coded, np.flatnonzero(n_rows >= least)):
        spreads = chunk.spreads(measures)
        column.own |= estimate_slices(chunk.names, spreads[CANDIDATE], level, least)
        for name, one in spreads[CANDIDATE].items():
            column.spreads.setdefault(name, []).append(one)
        for who in apart:
            column.apart[who] |= estimate_slices(
                chunk.names, spreads[who], level, least, is_apart=True
            )
    _add_small(column, contenders, blocks, coded, n_rows, settings)
    column.own = {name: column.own[name] for name in sorted(column.own)}
    column.apart = {
        who: {name: found[name] for name in sorted(found)} for who, found in column.apart.items()
    }
    return column


def _add_small(
    column: _Column,
    contenders: Mapping[str, Contender],
    blocks: Blocks,
    coded: Coded,
    n_rows: Ints,
    settings: Settings,
) -> None:
    small = np.flatnonzero(n_rows < settings.min_rows)
    if not len(small):
        return
    rows = np.flatnonzero((n_rows < settings.min_rows)[coded.codes])
    keys = np.searchsorted(small, coded.codes[rows])
    seen = np.unique(keys * blocks.n + blocks.codes[rows]) // blocks.n
    n_blocks = np.bincount(seen, minlength=len(small))
    values = {
        who: contender.measure(contender.rows.tabulate(keys, len(small), rows))
        for who, contender in contenders.items()
    }
    for i, code in enumerate(small.tolist()):
        about = (None, None, int(n_rows[code]), int(n_blocks[i]), settings.confidence)
        own = {name: value[i] for name, value in values[CANDIDATE].items()}
        name = coded.names[code]
        column.own[name] = {m: Estimate(number_or_none(v), *about) for m, v in own.items()}
        for who, found in values.items():
            if who != CANDIDATE:
                column.apart[f"-{who}"][name] = {
                    m: Estimate(number_or_none(v - found[m][i]), *about)
                    for m, v in own.items()
                    if m in found
                }


def tabulate_whole(contenders: Mapping[str, Contender], blocks: Blocks) -> Slices:
    """All rows, as one slice."""
    rows = np.bincount(blocks.codes, minlength=blocks.n)
    tables = {
        who: one.rows.tabulate(blocks.codes, blocks.n)[None] for who, one in contenders.items()
    }
    return Slices([""], tables, rows[None])


def _tabulate(
    contenders: Mapping[str, Contender], blocks: Blocks, coded: Coded, which: Ints
) -> Iterator[Slices]:
    """The slices of these codes, as many at a time as fit."""
    width = sum(contender.rows.width for contender in contenders.values())
    at_once = max(_AT_ONCE // (blocks.n * width), 1)
    is_whole = len(which) == len(coded.names) <= at_once
    order = np.empty(0, np.int64) if is_whole else np.argsort(coded.codes, kind="stable")
    ends = np.cumsum(np.bincount(coded.codes, minlength=len(coded.names)))
    for start in range(0, len(which), at_once):
        part = which[start : start + at_once]
        rows = None if is_whole else _rows_of(part, order, ends)
        codes = coded.codes if rows is None else np.searchsorted(part, coded.codes[rows])
        keys = codes * blocks.n + (blocks.codes if rows is None else blocks.codes[rows])
        shape = (len(part), blocks.n)
        counts = np.bincount(keys, minlength=shape[0] * shape[1]).reshape(shape)
        tables = {
            who: one.rows.tabulate(keys, counts.size, rows).reshape(*shape, -1)
            for who, one in contenders.items()
        }
        yield Slices([coded.names[i] for i in part], tables, counts)


def _rows_of(codes: Ints, order: Ints, ends: Ints) -> Ints:
    starts = np.append(0, ends)[codes]
    spans = zip(starts.tolist(), ends[codes].tolist(), strict=True)
    return np.concatenate([order[start:end] for start, end in spans])


def _gaps(column: _Column, level: float) -> dict[str, Estimate]:
    """By metric, of the candidate."""
    gaps: dict[str, Estimate] = {}
    for name, parts in column.spreads.items():
        spread = parts[0] if len(parts) == 1 else _concatenate(parts)
        is_whole = np.isfinite(spread.left_out).all(-1) & np.isfinite(spread.value)
        gap = estimate_gap(spread, is_whole & spread.has_blocks, level)
        if gap is not None:
            gaps[name] = gap
    return gaps


def _concatenate(parts: list[Spread]) -> Spread:
    value, left_out, rows = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("value", "left_out", "rows")
    )
    return Spread(value, left_out, rows)
