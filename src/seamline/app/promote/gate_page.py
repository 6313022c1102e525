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
from seamline.evaluate.page import as_drawn, make_pages
from seamline.evaluate.show import show_evaluation

#: Characters of evidence; with slices of evaluations and the rest a page stays under 300 KB.
_MOST_EVIDENCE = 40_000
#: Rows of a picture: who looks at more of them reads the evidence.
_MOST_ROWS = 60


def gate_page(platform: Platform, found: Mapping[str, Any]) -> str:
    """`found`: as `ask_gate` gives it. Evaluations that it counted are shown in full."""
    loaders = [PackageLoader("seamline.app.promote"), PackageLoader("seamline.evaluate")]
    told = {name: value for name, value in found["evidence"].items() if name != "picture"}
    evidence = json.dumps(told, indent=2, ensure_ascii=False)
    drawn = lay_out_picture(found["evidence"])
    return (
        make_pages(ChoiceLoader(loaders))
        .get_template("gate.html")
        .render(
            found=found,
            drawn=None if drawn is None else {**drawn, "rows": drawn["rows"][:_MOST_ROWS]},
            told=explain_gate(platform, found["gate"]),
            evidence=evidence[:_MOST_EVIDENCE],
            n_more=max(len(evidence) - _MOST_EVIDENCE, 0),
            evaluations=as_drawn(_evaluations(platform, found["evidence"])),
        )
    )


def _evaluations(platform: Platform, evidence: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the gate `evaluation`; the first three, where a release holds many models."""
    shown = []
    for one in evidence.get("evaluations", [])[:3]:
        try:
            shown.append(show_evaluation(platform.stores, one["evaluation"]))
        except (KeyError, TypeError, NotFound):
            continue
    return shown
