"""Advisories in OSV's format: which versions are affected, what is read, and what is refused."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from seamline.domain.errors import InvalidInput
from seamline.trust.advisories import Hit, find_hits, holds, read_advisories, spans_of


def advisory(name: str = "jinja2", **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": more.pop("events", [{"introduced": "0"}])}],
        "versions": more.pop("versions", []),
    }
    return {"id": "GHSA-1", "modified": "2026-01-02T03:04:05Z", "affected": [affected], **more}


def write(folder: Path, *documents: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for n, one in enumerate(documents):
        (folder / f"{n}.json").write_text(json.dumps(one))
    return folder


def hits(folder: Path, name: str, version: str) -> list[Hit]:
    return find_hits(read_advisories(folder, [name]), name, version)


@pytest.mark.parametrize(
    ("version", "events", "is_hit"),
    [
        ("3.1.2", [{"introduced": "0"}, {"fixed": "3.1.3"}], True),
        ("3.1.3", [{"introduced": "0"}, {"fixed": "3.1.3"}], False),
        ("3.1.3rc1", [{"introduced": "0"}, {"fixed": "3.1.3"}], True),
        ("3.1.3", [{"introduced": "0"}, {"last_affected": "3.1.3"}], True),
        ("3.1.4", [{"introduced": "0"}, {"last_affected": "3.1.3"}], False),
        # Built locally from what is affected.
        ("3.1.3+cpu", [{"introduced": "0"}, {"last_affected": "3.1.3"}], True),
        ("1!1.0", [{"introduced": "0"}, {"fixed": "3.1.3"}], False),
        ("2.0", [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}], True),
        ("1.5", [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}], False),
    ],
)
def test_versions_are_compared_as_pypi_does(
    tmp_path: Path, version: str, events: list[dict[str, str]], is_hit: bool
) -> None:
    folder = write(tmp_path / "osv", advisory(events=events))
    assert bool(hits(folder, "jinja2", version)) is is_hit


def test_names_are_compared_as_pypi_does(tmp_path: Path) -> None:
    folder = write(tmp_path / "osv", advisory("Scikit_Learn"))
    [found] = hits(folder, "scikit-learn", "1.9.1")
    assert (found.advisory, found.fixed_in) == ("GHSA-1", None)
    assert hits(folder, "scikit", "1.9.1") == []


def test_a_listed_version_is_affected_and_its_fix_is_named(tmp_path: Path) -> None:
    events = [{"introduced": "2.0"}, {"fixed": "2.5"}]
    folder = write(tmp_path / "osv", advisory(events=events, versions=["1.0.0", "odd-one"]))
    [found] = hits(folder, "jinja2", "1.0")
    assert found.fixed_in == "2.5"
    assert hits(folder, "jinja2", "1.1") == []


def test_what_is_withdrawn_or_elsewhere_hits_nothing_and_only_ours_is_counted(
    tmp_path: Path,
) -> None:
    npm = advisory()
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    gone = advisory(withdrawn="2026-01-03T00:00:00Z", modified="2026-01-03T00:00:00Z")
    folder = write(tmp_path / "osv", npm, gone)
    found = read_advisories(folder, ["jinja2"])
    assert (found.n, found.about) == (1, {})
    assert found.newest == datetime(2026, 1, 3, tzinfo=UTC)


def test_a_commit_range_without_versions_affects_all(tmp_path: Path) -> None:
    """Nobody said which: that is no reason to pass."""
    only_commits = advisory()
    only_commits["affected"][0]["ranges"] = [{"type": "GIT", "events": [{"introduced": "abc"}]}]
    assert hits(write(tmp_path / "osv", only_commits), "jinja2", "3.1.2")


def test_a_zip_is_read_like_a_folder_and_the_digest_names_all_of_it(tmp_path: Path) -> None:
    one, two = advisory(), advisory("flask", id="GHSA-2", modified="2026-01-05T00:00:00Z")
    folder = write(tmp_path / "osv", one, two)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
        file.writestr("README.txt", "not an advisory")
    zipped, plain = (read_advisories(each, ["jinja2", "flask"]) for each in (archive, folder))
    assert (zipped.n, zipped.newest, zipped.about) == (plain.n, plain.newest, plain.about)
    before = read_advisories(folder, []).digest
    write(folder, one, {**two, "summary": "other"})
    assert read_advisories(folder, []).digest != before
    (tmp_path / "below" / "pypi").mkdir(parents=True)
    archive.rename(tmp_path / "below" / "pypi" / "all.zip")
    assert read_advisories(tmp_path / "below", ["flask"]).n == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "9.json").write_text("{"),
        lambda folder: (folder / "9.json").write_text('{"id": "x"}'),
        lambda folder: (folder / "9.json").write_text('{"id": "x", "modified": "yesterday"}'),
        lambda folder: (folder / "9.zip").write_bytes(b"PK\x03\x04 cut off"),
        lambda folder: (folder / "9.json").write_bytes(b"\xff" * 10),
    ],
)
def test_half_a_source_is_no_source(tmp_path: Path, spoil: Any) -> None:
    folder = write(tmp_path / "osv", advisory())
    spoil(folder)
    with pytest.raises(InvalidInput, match=r"9\.(json|zip)|cannot be read"):
        read_advisories(folder, ["jinja2"])


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_advisories(tmp_path / "none.zip", [])
    odd = write(tmp_path / "osv", advisory(events=[{"introduced": "0"}, {"fixed": "one"}]))
    with pytest.raises(InvalidInput, match="GHSA-1: 'one' is no version"):
        read_advisories(odd, ["jinja2"])


VERSIONS = [f"{major}.{minor}" for major in range(4) for minor in range(4)]


@given(st.lists(st.sampled_from(VERSIONS), min_size=1, max_size=6, unique=True), st.booleans())
def test_spans_are_what_walking_through_the_events_gives(marks: list[str], begins: bool) -> None:
    """Against the schema's own algorithm: sorted events switch *affected* on and off."""
    ordered = sorted(marks, key=Version)
    kinds = ["introduced", "fixed"] if begins else ["fixed", "introduced"]
    events = [{kinds[place % 2]: mark} for place, mark in enumerate(ordered)]
    for text in VERSIONS:
        affected = False
        for event in events:
            [(kind, mark)] = event.items()
            if Version(text) >= Version(mark):
                affected = kind == "introduced"
        found = any(holds(span, Version(text)) for span in spans_of(reversed(events)))
        assert found is affected, (text, events)
