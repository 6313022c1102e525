"""Everything that a user can name is in the docs, and no link leads nowhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from seamline.cli.root import seamline
from seamline.domain import errors
from seamline.domain.facts import FACT_TYPES
from seamline.domain.settings import Settings
from seamline.project.file import SECTIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "bench").glob("*.md")])


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def reference(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def commands(group: click.Group, words: tuple[str, ...] = ("seamline",)) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield " ".join([*words, name])
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


def error_classes(cls: type[errors.SeamlineError]) -> Iterator[type[errors.SeamlineError]]:
    for below in cls.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from error_classes(below)


def test_generated_pages_are_up_to_date(generator: ModuleType) -> None:
    assert generator.stale_pages() == [], "run: python docs/generate.py"


def test_every_command_is_in_the_docs() -> None:
    page = reference("cli.md")
    assert [words for words in commands(seamline) if f"## `{words}`" not in page] == []


def test_every_setting_is_in_the_docs() -> None:
    page = reference("settings.md")
    names = [field.name for field in dataclasses.fields(Settings)]
    assert [name for name in names if f"`SEAMLINE_{name.upper()}`" not in page] == []


def test_every_error_is_in_the_docs() -> None:
    page = reference("errors.md")
    classes = list(error_classes(errors.SeamlineError))
    assert len(classes) > 5
    assert [
        cls.__name__ for cls in classes if f"| `{cls.__name__}` | `{cls.code}`" not in page
    ] == []


def test_every_fact_is_in_the_docs() -> None:
    page = reference("facts.md")
    assert [kind for kind in FACT_TYPES if f"| `{kind}` |" not in page] == []


def test_every_key_of_seamline_toml_is_in_the_docs_with_its_meaning() -> None:
    page = reference("seamline-toml.md")
    for section, cls in SECTIONS.items():
        part = page.partition(f"## `[{section}.NAME]`\n")[2].partition("\n## ")[0]
        keys = [field.name for field in dataclasses.fields(cls) if field.name != "name"]
        assert [key for key in keys if f"\n| `{key}` |" not in part] == [], section
    assert re.findall(r"^\| `\w+` \|.*\|\s*\|$", page, re.MULTILINE) == []


def test_every_relative_link_resolves() -> None:
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name) if name else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Headings as a forge names them: lower case, hyphens for spaces, no other marks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", page.read_text()):
            found = (page.parent / target).resolve()
            queue += [found] if found.exists() else []
    assert sorted(str(page.relative_to(ROOT)) for page in set(DOCS.rglob("*.md")) - seen) == []
