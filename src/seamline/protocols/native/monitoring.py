"""Monitors, measurements, retrainings, and the chain behind a prediction."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.monitor.measure_monitor import measure_monitor, show_monitor
from seamline.app.serve.explain_prediction import explain_prediction
from seamline.protocols.native.access import Evaluator, PlatformOf, Reader, await_state
from seamline.retrain.retrainings import list_retrainings, show_retraining

ROUTER = APIRouter()


class Measure(BaseModel):
    until: str | None = None


@ROUTER.post("/monitors/{name}/measure")
def measure(platform: PlatformOf, who: Evaluator, name: str, body: Measure) -> dict[str, Any]:
    measure_monitor(platform, name, until=body.until, by=who.name)
    return show_monitor(platform, name)


@ROUTER.get("/monitors/{name}")
def monitor(platform: PlatformOf, who: Reader, name: str) -> dict[str, Any]:
    return show_monitor(platform, name)


@ROUTER.get("/retrainings")
def retrainings(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    return list_retrainings(platform.stores)


@ROUTER.get("/retrainings/{retraining_id}")
def retraining(
    platform: PlatformOf, who: Reader, retraining_id: str, wait_s: float = 0
) -> dict[str, Any]:
    def show() -> dict[str, Any]:
        return show_retraining(platform.stores, retraining_id)

    await_state(platform, lambda: show()["is_ended"], {True}, wait_s)
    return show()


@ROUTER.get("/predictions/{prediction_id}/why")
def why(platform: PlatformOf, who: Reader, prediction_id: str) -> dict[str, Any]:
    return explain_prediction(platform, prediction_id)
