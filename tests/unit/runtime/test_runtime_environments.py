"""Environments from a package index that is a folder, so that no network is needed."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from seamline.domain.errors import InvalidInput, Unavailable
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskEnd, TaskRunner, TaskSpec


@pytest.fixture
def index_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two versions of a package with one module."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    folder = tmp_path / "simple" / "tiny-seam"
    folder.mkdir(parents=True)
    for number in ("1.0", "2.0"):
        name = f"tiny_seam-{number}"
        files = {
            "tiny_seam.py": f"VERSION = {number!r}\n",
            f"{name}.dist-info/METADATA": (
                f"Metadata-Version: 2.1\nName: tiny-seam\nVersion: {number}\n"
            ),
            f"{name}.dist-info/WHEEL": (
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            ),
        }
        record = "".join(f"{path},,\n" for path in (*files, f"{name}.dist-info/RECORD"))
        with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
            for path, text in {**files, f"{name}.dist-info/RECORD": record}.items():
                wheel.writestr(path, text)
    links = "".join(f"<a href='{w.name}'>{w.name}</a>\n" for w in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<html><body>{links}</body></html>")
    return (tmp_path / "simple").as_uri()


@pytest.fixture
def cache(tmp_path: Path) -> EnvironmentCache:
    return EnvironmentCache(tmp_path / "environments", Path(sys.executable))


def test_the_host_serves_what_it_already_satisfies(cache: EnvironmentCache, tmp_path: Path) -> None:
    wanted = RequirementSet.of(["numpy>=2"])
    made = cache.ensure(wanted)
    assert made.is_host
    assert made.python == Path(sys.executable)
    assert made.digest == wanted.digest
    assert f"numpy=={version('numpy')}" in made.lock
    assert not (tmp_path / "environments").exists()


SHOW = """
import sys
def main(payload):
    try:
        import tiny_seam
    except ModuleNotFoundError:
        return {"version": None, "prefix": sys.prefix}
    return {"version": tiny_seam.VERSION, "prefix": sys.prefix}
"""


def test_environments_with_conflicting_versions_run_side_by_side(
    cache: EnvironmentCache,
    index_url: str,
    runner: TaskRunner,
    script: Callable[..., TaskSpec],
) -> None:
    lines: list[str] = []
    one, two = (
        cache.ensure(
            RequirementSet.of([f"tiny-seam=={n}"]), index_url=index_url, on_progress=lines.append
        )
        for n in ("1.0", "2.0")
    )
    host = cache.ensure(RequirementSet.of())
    assert (one.lock, two.lock) == (("tiny-seam==1.0",), ("tiny-seam==2.0",))
    assert not one.is_host
    assert any("tiny-seam" in line for line in lines)
    specs = {
        name: script(name, SHOW, environment=environment)
        for name, environment in {"one": one, "two": two, "host": host}.items()
    }
    futures = {name: runner.start(spec) for name, spec in specs.items()}
    assert all(future.result().succeeded for future in futures.values())
    found = {name: (spec.output_path or Path()).read_text() for name, spec in specs.items()}
    assert '"1.0"' in found["one"]
    assert '"2.0"' in found["two"]
    assert '"version": null' in found["host"]


def test_what_cannot_be_installed_is_refused_with_the_installers_words(
    cache: EnvironmentCache, index_url: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"tiny-seam==3\.0") as caught:
        cache.ensure(RequirementSet.of(["tiny-seam==3.0"]), index_url=index_url)
    assert "packages_to_install" in caught.value.next_step
    left = [path.name for path in (tmp_path / "environments").iterdir()]
    assert all(name.endswith(".lock") for name in left)


def test_an_index_that_does_not_answer_is_not_the_authors_fault(
    cache: EnvironmentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Unavailable) as caught:
        cache.ensure(
            RequirementSet.of(["tiny-seam==1.0"]), index_url="http://u:secret@127.0.0.1:1/simple"
        )
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


def test_ten_that_want_the_same_environment_make_it_once(tmp_path: Path, index_url: str) -> None:
    made: list[str] = []
    wanted = RequirementSet.of(["tiny-seam"])

    def ensure(_: int) -> tuple[str, ...]:
        # One cache each, as processes would have: only the file lock is between them.
        own = EnvironmentCache(tmp_path / "environments", Path(sys.executable))
        return own.ensure(wanted, index_url=index_url, on_progress=made.append).lock

    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(ensure, range(10))) == {("tiny-seam==2.0",)}
    assert len([line for line in made if line.startswith("Installed")]) == 1


def test_what_a_killed_process_left_half_made_is_never_used(
    cache: EnvironmentCache, index_url: str, tmp_path: Path
) -> None:
    wanted = RequirementSet.of(["tiny-seam"])
    name = wanted.digest.removeprefix("sha256:")
    left = tmp_path / "environments" / f".making-{name}-x"
    (left / "bin").mkdir(parents=True)
    half = tmp_path / "environments" / name
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").touch()
    made = cache.ensure(wanted, index_url=index_url)
    assert made.lock == ("tiny-seam==2.0",)
    assert not left.exists()


def test_an_environment_is_found_again_by_another_process_without_its_index(
    cache: EnvironmentCache, index_url: str, tmp_path: Path
) -> None:
    made = cache.ensure(RequirementSet.of(["tiny-seam==1.0"]), index_url=index_url)
    later = EnvironmentCache(tmp_path / "environments", Path(sys.executable))
    again = later.ensure(RequirementSet.of(["tiny-seam==1.0"]), index_url="http://127.0.0.1:1/")
    assert again == made
    everything = (made.python.parent.parent / "seamline-environment.json").read_text()
    assert index_url not in everything


def test_a_lightweight_component_needs_only_kfps_own_files(
    cache: EnvironmentCache, runner: TaskRunner, script: Callable[..., TaskSpec], host: object
) -> None:
    """With the machine's own package index, for the one package that cannot be made up here."""
    wanted = RequirementSet.of(["packaging==24.0"], bare=[f"kfp=={version('kfp')}"])
    try:
        environment = cache.ensure(wanted)
    except (Unavailable, InvalidInput) as error:
        pytest.skip(f"this machine's package index does not give kfp: {error.message}")
    assert environment.lock == (f"kfp=={version('kfp')}", "packaging==24.0")
    source = """
    import os
    os.environ["_KFP_RUNTIME"] = "true"
    def main(payload):
        from kfp import dsl
        from kfp.dsl import executor, executor_main
        return {}
    """
    outcome = runner.start(script("bare", source, environment=environment)).result()
    assert outcome.end is TaskEnd.SUCCEEDED, outcome.error
