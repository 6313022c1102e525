"""Tables filled by what is live."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.serve.predict_dataset import predict_dataset
from seamline.promote.environments import TRAINING
from seamline.protocols.native.access import Ingester, PlatformOf

ROUTER = APIRouter()


class PredictDataset(BaseModel):
    """`model`: an endpoint, or what answers at one; `data`: NAME@VERSION; `to`: a dataset."""

    model: str
    data: str
    to: str
    environment: str = TRAINING
    #: One SELECT over `data`; not said: all its rows.
    query: str | None = None


@ROUTER.post("/batch-predictions")
def predict(platform: PlatformOf, who: Ingester, body: PredictDataset) -> dict[str, Any]:
    """Answered when the version is there; the same again is that version. How far it is:
    `/datasets/{to}/ingesting`."""
    return predict_dataset(
        platform, body.model, body.data, body.to, body.environment, by=who.name, query=body.query
    )
