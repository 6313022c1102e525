"""What the pages of pipelines and packages show: each repository, whose they are, who uses them."""

# No postponed annotations here: the KFP SDK reads those of its components.
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from seamline.app.platform import Platform
from seamline.console.registries import read_packages, read_pipeline, read_pipelines
from seamline.domain.clock import SystemClock
from seamline.domain.errors import NotFound
from seamline.domain.settings import Settings
from seamline.register.pipelines.publishing import publish_pipeline, tag_pipeline
from seamline.server import build_control_plane

MAIN = "default/main"


@dsl.component(base_image="python:3.11")
def count(days: int) -> int:
    return days


@dsl.pipeline
def arrivals(days: int = 7) -> int:
    return count(days=days).output


@dsl.pipeline(name="arrivals")
def more_arrivals(days: int = 7, delay: int = 0) -> int:
    return count(days=days).output


@dsl.pipeline
def report():
    arrivals(days=3)


def compiled(pipeline: Any, path: Path) -> bytes:
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_bytes()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    plane = build_control_plane(Settings(workspace=tmp_path / "workspace"), SystemClock())
    stores = plane.platform.stores
    first = publish_pipeline(
        stores, compiled(arrivals, tmp_path / "1.yaml"), ["1.0.0", "latest"], by="ana"
    )
    publish_pipeline(stores, compiled(more_arrivals, tmp_path / "2.yaml"), ["1.1.0"], by="ana")
    tag_pipeline(stores, "arrivals", first.digest, "stable", by="ana")
    other = compiled(report, tmp_path / "3.yaml")
    publish_pipeline(stores, other, ["2.0.0"], by="eve", repository="punctuality/reports")
    yield plane.platform
    plane.platform.runner.close()
    stores.db.close()


def test_a_version_is_called_by_its_number_whatever_was_moved_last(platform: Platform) -> None:
    page = read_pipeline(platform, "arrivals", MAIN, None)
    assert [one["name"] for one in page["versions"]] == ["1.1.0", "1.0.0"]
    assert page["versions"][1]["tags"] == ["1.0.0", "stable", "latest"]
    assert [one["published_by"] for one in page["versions"]] == ["ana", "ana"]
    assert page["owner"] == "ana"
    assert [one["tag"] for one in page["moves"]] == ["stable", "1.1.0", "latest", "1.0.0"]


def test_one_version_is_shown_whole(platform: Platform) -> None:
    newest = read_pipeline(platform, "arrivals", MAIN, None)["shown"]
    assert newest["name"] == "1.1.0"
    assert list(newest["interface"]["inputs"]) == ["days", "delay"]
    shown = read_pipeline(platform, "arrivals", MAIN, "stable")["shown"]
    assert shown["name"] == "1.0.0"
    assert shown["interface"]["inputs"]["days"]["default"] == 7
    assert list(shown["interface"]["outputs"]) == ["Output"]
    [user] = shown["consumers"]
    assert (user["package"], user["repository"]) == ("report", "punctuality/reports")
    assert (user["tags"], user["uses"]) == (["2.0.0"], ["1.0.0"])
    with pytest.raises(NotFound, match=r"Did you mean 1\.1\.0"):
        read_pipeline(platform, "arrivals", MAIN, "1.1.1")


def test_pipelines_of_other_repositories_are_listed(platform: Platform) -> None:
    page = read_pipelines(platform)
    assert [(one["repository"], one["name"], one["newest"]) for one in page["pipelines"]] == [
        (MAIN, "arrivals", "1.1.0"),
        ("punctuality/reports", "report", "2.0.0"),
    ]
    assert page["has_repositories"] is True
    assert read_pipeline(platform, "report", "punctuality/reports", None)["owner"] == "eve"
    with pytest.raises(NotFound, match="There is no pipeline 'report'"):
        read_pipeline(platform, "report", MAIN, None)


def test_no_package_is_a_page_too(platform: Platform) -> None:
    assert read_packages(platform)["packages"] == []
