"""A declared model's name is its project's before there is a version: nobody takes it, here or
upstream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from seamline.domain.errors import Refused
from seamline.project.plan import apply_project, plan_project
from seamline.register.packages import index as packages

SHOP = """
project = "shop"
team = "shop"
[models.late-arrival]
pipeline = "train"
output = "fit.model"
samples = "fit.rows"
[models.delay]
pipeline = "train"
output = "fit.model"
samples = "fit.rows"
per = ["origin"]
"""
NAMES = ("late-arrival", "Late.Arrival", "delay-jfk")


def upload(index: Any, path: Path, token: str) -> httpx.Response:
    return httpx.post(
        index.upload(),
        data={":action": "file_upload", "protocol_version": "1"},
        files={"content": (path.name, path.read_bytes())},
        auth=("__token__", token),
    )


def test_nobody_uploads_under_a_declared_models_name(
    index: Any, make_wheel: Callable[..., Path]
) -> None:
    apply_project(index.stores, SHOP, "seamline.toml", by="ada")
    eve = index.token_of("eve")
    for name in ("late-arrival", "delay-jfk"):
        refused = upload(index, make_wheel(name, "9.0"), eve)
        assert refused.status_code == 403
        assert f"{name} is a model of the project shop" in refused.text
    assert upload(index, make_wheel("delays", "9.0"), eve).status_code == 200
    assert packages.list_package_names(index.stores, "dataops") == ["delays"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_not_looked_up_upstream(index: Any, upstream: Any, name: str) -> None:
    url = f"{index.simple()}{name}/"
    assert httpx.get(url).status_code == 307
    apply_project(index.stores, SHOP, "seamline.toml", by="ada")
    found = httpx.get(url)
    assert found.status_code == 404 and "a model of the project shop" in found.text
    assert upstream.asked == []
    # A project that gives the name up gives it back.
    apply_project(index.stores, 'project = "shop"\nteam = "shop"\n', "seamline.toml", by="ada")
    assert httpx.get(url).status_code == 307


def test_a_model_takes_nobodys_package(index: Any, make_wheel: Callable[..., Path]) -> None:
    eve = index.token_of("eve")
    assert upload(index, make_wheel("late-arrival", "0.1"), eve).is_success
    for attempt in (
        lambda: plan_project(index.stores, SHOP, "seamline.toml"),
        lambda: apply_project(index.stores, SHOP, "seamline.toml", by="ada"),
    ):
        with pytest.raises(Refused, match=r"models\.late-arrival: eve has published a package"):
            attempt()
    # Nor does the refusal take it from who has it.
    assert upload(index, make_wheel("late-arrival", "0.2"), eve).is_success
