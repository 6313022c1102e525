"""Gates: which there are, what each proves, and what one says about a release."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.promote.ask_gate import ask_gate
from seamline.app.promote.gate_guide import explain_gate, list_gates
from seamline.app.promote.gate_page import gate_page
from seamline.protocols.native.access import Evaluator, PlatformOf, Reader

ROUTER = APIRouter()


class Question(BaseModel):
    """`html`: with a page of it, as text."""

    release: str
    environment: str
    html: bool = False


@ROUTER.get("/gates")
def gates(
    platform: PlatformOf, who: Reader, environment: str | None = None
) -> list[dict[str, Any]]:
    return list_gates(platform, environment)


@ROUTER.get("/gates/{gate}")
def explain(platform: PlatformOf, who: Reader, gate: str) -> dict[str, Any]:
    return explain_gate(platform, gate)


@ROUTER.post("/gates/{gate}/decisions")
def decide(platform: PlatformOf, who: Evaluator, gate: str, body: Question) -> dict[str, Any]:
    """Outside of any promotion: recorded nowhere, and nothing opens by it."""
    found = ask_gate(platform, gate, body.release, body.environment, by=who.name)
    return {**found, "html": gate_page(platform, found)} if body.html else found
