"""What a gate said, as one HTML file: style and picture inside, no script, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import ChoiceLoader, PackageLoader

from seamline.app.platform import Platform
from seamline.app.promote.gate_guide import explain_gate
from seamline.app.promote.gate_layout import lay_out_picture
from seamline.domain.errors import NotFound
from seamline.evaluate.backtests import find_backtest
from seamline.evaluate.page import as_drawn, draw_backtests, fit_page, make_pages
from seamline.evaluate.show import show_evaluation
from seamline.promote.gate_pictures import PICTURE

#: Characters of evidence.
_MOST_EVIDENCE = 40_000
#: Evaluations and back-tests, where a release holds many models.
_MOST_SHOWN = 3
#: Rows of a picture: who looks at more of them reads the evidence.
_MOST_ROWS = 60


def gate_page(platform: Platform, found: Mapping[str, Any]) -> str:
    """`found`: as `ask_gate` gives it. Evaluations and back-tests that it counted are shown."""
    loaders = [PackageLoader("seamline.app.promote"), PackageLoader("seamline.evaluate")]
    template = make_pages(ChoiceLoader(loaders)).get_template("gate.html")
    told = {name: value for name, value in found["evidence"].items() if name != PICTURE}
    evidence = json.dumps(told, indent=2, ensure_ascii=False)
    picture = lay_out_picture(found["evidence"])
    evaluations = _evaluations(platform, found["evidence"])
    backtests = _backtests(platform, found["evidence"])

    def render(level: int) -> str:
        most = _MOST_EVIDENCE >> level
        rows = [] if picture is None else picture["rows"][: _MOST_ROWS >> level]
        return template.render(
            found=found,
            drawn=None if picture is None else {**picture, "rows": rows},
            told=explain_gate(platform, found["gate"]),
            evidence=evidence[:most],
            n_more=max(len(evidence) - most, 0),
            evaluations=as_drawn(evaluations, level),
            backtests=draw_backtests(backtests, level),
        )

    return fit_page(render)


def _evaluations(platform: Platform, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the gate `evaluation`."""
    shown = []
    for one in evidence.get("evaluations", [])[:_MOST_SHOWN]:
        try:
            shown.append(show_evaluation(platform.stores, one["evaluation"]))
        except (KeyError, TypeError, NotFound):
            continue
    return shown


def _backtests(platform: Platform, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for one in evidence.get("backtests", [])[:_MOST_SHOWN]:
        try:
            shown.append(find_backtest(platform.stores, one["backtest"]).to_json())
        except (KeyError, TypeError, NotFound):
            continue
    return shown
