"""examples/aggregated, by the commands of its own page, on a server of its own: two teams publish,
a third codebase sews, and what breaks in one team stops nothing of the other's.

Each codebase's own tests run here, too: they are among the commands.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "aggregated"
PAGE_URL = "http://127.0.0.1:8765"
ARRIVALS, PUNCTUALITY = "arrivals-pipeline", "punctuality-pipeline"
EXITS = re.compile(r"  # exits with (\d+)$")
#: Before the output of each command, and in no output.
MARK = "\x1e"


@dataclass(frozen=True)
class Told:
    command: str
    output: str


@dataclass(frozen=True)
class Story:
    """What the page's commands said, and the server afterwards."""

    url: str
    folder: Path
    told: list[Told]

    def said(self, *words: str) -> list[str]:
        """By each command that has all these words, in order."""
        return [one.output for one in self.told if all(word in one.command for word in words)]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            return json.loads(response.read())

    def tags(self, package: str) -> dict[str, str]:
        listed = self.get(f"/kfp/registry/default/main/packages/{package}/tags")["tags"]
        return {tag["name"].rpartition("/")[2]: tag["version"].rpartition("/")[2] for tag in listed}


def commands() -> list[tuple[str, int]]:
    """The page's command lines, and the exit code of each."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            assert line.startswith("$ "), line
            exits = EXITS.search(line)
            found.append((EXITS.sub("", line[2:]), int(exits[1]) if exits else 0))
    return found


def page() -> str:
    return (EXAMPLE / "README.md").read_text()


def script(url: str) -> str:
    """Runs every command in one shell; ends at the first that ends in another way than told."""
    lines = ["set -u -o pipefail"]
    for command, code in commands():
        lines += [
            f"printf '{MARK}%s\\n' {shlex.quote(command)}",
            f"{command.replace(PAGE_URL, url)}",
            f'code=$?; [ $code = {code} ] || {{ echo "exit code $code, told {code}"; exit 97; }}',
        ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def story(start_server: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Story:
    address, _ = start_server()
    folder = tmp_path_factory.mktemp("aggregated") / "aggregated"
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache", "pipelines.lock")
    shutil.copytree(EXAMPLE, folder, ignore=ignored)
    environ = {name: text for name, text in os.environ.items() if "SEAMLINE" not in name}
    environ |= {
        "SEAMLINE_URL": address["url"],
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    done = subprocess.run(
        ["bash", "-c", script(address["url"])],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1_200,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    told = [Told(*one.partition("\n")[::2]) for one in done.stdout.split(MARK)[1:]]
    return Story(address["url"], folder, told)


@pytest.fixture(scope="module")
def runs(story: Story) -> list[Any]:
    """The three reports, oldest first, with their tasks."""
    found = [
        re.search(r"run (\S+) has", said)[1]  # type: ignore[index]
        for said in story.said("python run.py")
    ]
    return [story.get(f"/api/v1/runs/{run_id}") for run_id in found]


def test_each_codebase_has_its_own_version_and_tests() -> None:
    for folder in ("team-arrivals", "team-punctuality", "orchestrator"):
        project = tomllib.loads((EXAMPLE / folder / "pyproject.toml").read_text())["project"]
        assert project["version"] == "1.0.0"
        assert list((EXAMPLE / folder / "tests").glob("test_*.py"))


def test_no_codebase_knows_another_or_the_platform() -> None:
    for file in EXAMPLE.rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"^\s*(import|from) seamline", text, re.MULTILINE), file
        if "orchestrator" in file.parts:
            assert not re.search(r"^(import|from) (arrivals|punctuality)", text, re.MULTILINE), file


def test_everything_is_published_by_its_own_team(story: Story) -> None:
    facts = story.get("/api/v1/facts?limit=1000")
    published = {
        (one["body"]["package"], one["by"]) for one in facts if one["kind"] == "pipeline.published"
    }
    assert published == {
        (ARRIVALS, "arrivals-ci"),
        (PUNCTUALITY, "punctuality-ci"),
        ("flight-report", "reports-ci"),
    }
    assert {run["requested_by"] for run in story.get("/api/v1/runs")} == {"reports-ci"}


def test_the_lock_names_what_the_tags_stand_for(story: Story) -> None:
    (text,) = story.said("cat pipelines.lock")
    first = {one["name"]: one for one in tomllib.loads(text)["pipeline"]}
    for name in (ARRIVALS, PUNCTUALITY):
        assert first[name] == {
            "name": name,
            "repository": "default/main",
            "tag": "1.0.0",
            "digest": story.tags(name)["1.0.0"],
        }
    last = tomllib.loads((story.folder / "orchestrator" / "pipelines.lock").read_text())
    assert {one["name"]: one["tag"] for one in last["pipeline"]} == {
        ARRIVALS: "1.1.0",
        PUNCTUALITY: "1.1.0",
    }


def test_what_is_locked_comes_byte_for_byte_from_the_platform_s_own_client(story: Story) -> None:
    for name in (ARRIVALS, PUNCTUALITY):
        data = (story.folder / "parts" / f"{name}.yaml").read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == story.tags(name)["1.0.0"]


def test_the_orchestrator_sees_what_is_new_and_whether_it_fits(story: Story) -> None:
    first, second = story.said("pipeline outdated")
    assert re.search(rf"{ARRIVALS} +1\.0\.0 +1\.1\.0 +1\.1\.0 +compatible", first)
    assert re.search(rf"{PUNCTUALITY} +1\.0\.0 .*up to date", first)
    assert re.search(rf"{ARRIVALS} +1\.1\.0 +2\.0\.0 .*breaking", second)
    assert re.search(rf"{PUNCTUALITY} +1\.0\.0 +1\.1\.0 +1\.1\.0 +compatible", second)


def test_a_release_of_one_team_changes_one_entry_of_the_lock(story: Story) -> None:
    (changed,) = story.said("diff before.lock")
    lines = [line[2:].split(" = ")[0] for line in changed.splitlines() if line[0] in "<>"]
    assert lines == ["tag", "digest"] * 2
    tags = story.tags(ARRIVALS)
    assert tags["1.0.0"] in changed and tags["1.1.0"] in changed


def test_what_does_not_compile_is_not_sent(story: Story) -> None:
    (said,) = story.said("does-not-compile/publish.py")
    assert "SyntaxError" in said
    assert set(story.tags(ARRIVALS)) == {"1.0.0", "1.1.0", "1.2.0", "2.0.0", "latest"}


def test_what_does_not_fit_stays_as_locked_and_the_other_team_s_release_goes_in(
    story: Story,
) -> None:
    (said,) = story.said("aggregate.py", f"{ARRIVALS}@2.0.0")
    assert f"{ARRIVALS}@2.0.0 does not fit: TypeError" in said
    assert said.endswith(f"flight-report.yaml: {ARRIVALS}@1.1.0, {PUNCTUALITY}@1.1.0\n")


def test_a_refused_publication_moves_no_tag(story: Story) -> None:
    (breaking,) = story.said("python ../renamed/publish.py")
    assert breaking.startswith("1.2.0 was refused")
    assert "breaks what 1.1.0 promised" in breaking and "settings" in breaking
    assert "flight-report" in breaking
    (same,) = story.said("same-version/publish.py")
    assert same.startswith("1.1.0 was refused") and "The tag 1.1.0 of arrivals-pipeline" in same
    (foreign,) = story.said("$PUNCTUALITY", "team-arrivals/publish.py")
    assert "belongs to the team arrivals; punctuality-ci" in foreign
    (names,) = story.said("seamline team names")
    for name, team in ((ARRIVALS, "arrivals"), (PUNCTUALITY, "punctuality")):
        assert re.search(rf"{name} +{team} +{team}-ci", names)
    moved = [
        (one["body"]["tag"], one["body"]["after"])
        for one in reversed(story.get("/api/v1/facts?limit=1000"))
        if one["kind"] == "pipeline.tag_moved" and one["body"]["package"] == ARRIVALS
    ]
    tags = story.tags(ARRIVALS)  # 1.2.0 is the one that came after the refused one
    versions = ["1.0.0", "1.1.0", "2.0.0", "1.2.0"]
    assert moved == [pair for one in versions for pair in ((one, tags[one]), ("latest", tags[one]))]


def test_whole_runs_report_both_teams_for_each_airport(story: Story, runs: list[Any]) -> None:
    for run in runs[:2]:
        assert run["state"] == "succeeded"
        assert missing(run) == {"EWR": [], "JFK": [], "LGA": []}


def test_a_branch_that_fails_leaves_the_other_team_s_whole(runs: list[Any]) -> None:
    half = runs[2]
    assert half["state"] == "partially_failed"
    assert missing(half) == {airport: ["arrivals"] for airport in ("EWR", "JFK", "LGA")}
    ended: dict[str, set[str]] = {}
    for task in half["tasks"]:
        if task["kind"] == "python":
            # What an earlier report has computed stands in where nothing has changed.
            state = "succeeded" if task["state"] == "skipped" else task["state"]
            ended.setdefault(task["name"].partition("/")[2], set()).add(state)
    assert ended == {
        f"{ARRIVALS}/learn": {"failed"},
        f"{ARRIVALS}/forecast": {"upstream_failed"},
        f"{PUNCTUALITY}/count": {"succeeded"},
        f"{PUNCTUALITY}/rank": {"succeeded"},
        "summarise": {"succeeded"},
    }
    assert "gate_to_gate" in half["sentence"]


def missing(run: Any) -> dict[str, list[str]]:
    """Airport → the parts that its report had to do without."""
    made = [
        task["outputs"]["artifacts"]["summary"]["metadata"]
        for task in run["tasks"]
        if task["name"].endswith("/summarise")
    ]
    return {one["origin"]: one["missing"] for one in made}
