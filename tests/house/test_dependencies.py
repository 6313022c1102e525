"""Every dependency has a reason, is used, and is locked by version and hash, without addresses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "dependencies.md"
LOCK = ROOT / "requirements.lock"
#: Programs that are started.
NOT_IMPORTED = {"pip"}
#: Part of a declared library's own interface: FastAPI's bodies are Pydantic models.
COMES_WITH = {
    "pydantic": "fastapi",
    "httptools": "uvicorn[standard]",
    "uvloop": "uvicorn[standard]",
}
MODULES = {"yaml": "pyyaml", "python_multipart": "python-multipart"}


def project() -> dict[str, list[str]]:
    """group → requirements; the core under its own name."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"core": table["dependencies"], **table["optional-dependencies"]}


def requirements() -> list[Requirement]:
    return [Requirement(text) for texts in project().values() for text in texts]


def locked() -> dict[str, list[str]]:
    """`name` → its versions (markers can give a name several)."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE):
        found.setdefault(str(canonicalize_name(name)), []).append(version)
    return found


def test_each_dependency_has_its_line_with_a_reason_and_each_line_its_dependency() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.+?) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(
        str(canonicalize_name(one.name)) for one in requirements()
    )
    assert [name for name, reason in rows if len(reason) < 5] == []


def test_each_core_dependency_is_used_and_each_import_is_declared() -> None:
    declared = {str(canonicalize_name(Requirement(text).name)) for text in project()["core"]}
    imported = set()
    for path in (ROOT / "src" / "seamline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    outside = imported - sys.stdlib_module_names - {"seamline", "__future__"} - set(COMES_WITH)
    names = {MODULES.get(name, name) for name in outside}
    # Scripts that run in a task's own environment import what is installed there.
    names -= {"kfp", "skops"}
    assert declared - names - NOT_IMPORTED == set(), "declared, and never imported"
    assert names - declared == set(), "imported, and not declared"


def test_the_lock_has_a_hash_for_everything() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.read_text().strip())
    assert len(entries) > 20
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_address() -> None:
    pinned = re.compile(r"^[\w.-]+==")
    odd = [
        line
        for line in LOCK.read_text().splitlines()
        if re.search(r"https?:|file:|index-url|find-links", line)
        or ("http" in line and not pinned.match(line))
    ]
    assert odd == []


def test_the_lock_satisfies_the_project() -> None:
    versions = locked()
    unmet = [
        str(requirement)
        for requirement in requirements()
        if not any(
            requirement.specifier.contains(version, prereleases=True)
            for version in versions.get(str(canonicalize_name(requirement.name)), [])
        )
    ]
    assert unmet == []


def test_no_other_lock_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    names = {Path(line).name for line in listed.stdout.splitlines()}
    assert {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"} & names == set()
    assert [name for name in names if re.fullmatch(r"pylock(\..+)?\.toml", name)] == []
