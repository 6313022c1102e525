"""Whatever a run has come to, each of its pages can be read: every link of them is followed."""

# No postponed annotations here: the KFP SDK reads those of its components.
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, List  # noqa: UP035  as many users write them

import httpx
import pytest
from kfp import compiler, dsl

from seamline.app.train.submit_run import submit_ir
from seamline.domain.states import is_terminal
from seamline.train.options import FailurePolicy, RunOptions
from seamline.train.runs import cancel_run, run_state
from seamline.train.views.lists import count_tasks

IMAGE = "python:3.11"
LINK = re.compile(r'href="(\?[^"#]*)')


@dsl.component(base_image=IMAGE)
def break_down() -> List[str]:  # noqa: UP006
    raise ValueError("<b>no list</b>")


@dsl.component(base_image=IMAGE)
def find_none() -> List[str]:  # noqa: UP006
    return []


@dsl.component(base_image=IMAGE)
def say() -> str:
    return "something"


@dsl.component(base_image=IMAGE)
def use(item: str, until: str = "/") -> str:
    import time
    from pathlib import Path

    deadline = time.monotonic() + 60
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return item


@dsl.pipeline(name="oddities")
def oddities(
    until: str,
    items: List[dict] = [{"a": 1}, {"b": "x" * 3_000}, {}],  # noqa: B006, UP006
):
    """Loops over nothing, over what never came, in a branch not taken; and one that takes long."""
    broken = break_down()
    with dsl.ParallelFor(broken.output) as item:
        use(item=item)
    none = find_none()
    with dsl.ParallelFor(none.output) as item:
        use(item=item)
    said = say()
    with dsl.If(said.output == "nothing"), dsl.ParallelFor(none.output) as item:
        use(item=item)
    with dsl.ParallelFor(items, parallelism=1):
        first = use(item="first", until=until)
        use(item="second", until=until).after(first)


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("odd") / "pipeline.yaml"
    compiler.Compiler().compile(oddities, str(path))
    return path.read_bytes()


def read_all(town: Any, run_id: str) -> set[str]:
    """The queries of all pages of a run, each of which was asked for as a page and as JSON."""
    read: set[str] = set()
    ahead = [""]
    while ahead:
        query = ahead.pop()
        if query in read:
            continue
        read.add(query)
        page = httpx.get(f"{town.url}/runs/{run_id}{query}")
        assert page.status_code == 200, (query, page.text)
        as_json = httpx.get(page.url, headers={"Accept": "application/json"})
        assert as_json.json()["run"]["id"] == run_id
        assert "<b>no list</b>" not in page.text
        links = [html.unescape(link) for link in LINK.findall(page.text)]
        ahead += [link for link in links if "format=json" not in link]
    return read


def ended(town: Any, run_id: str) -> None:
    town.wait_for(lambda: is_terminal(run_state(town.platform.stores, run_id)))


@pytest.fixture
def halfway(town: Any, ir: bytes, tmp_path: Path) -> Iterator[str]:
    """Its first iteration runs, and all else has ended or waits for that."""
    flag = tmp_path / "go"
    stores = town.platform.stores
    run_id = submit_ir(town.platform, ir, arguments={"until": str(flag)}, by="nora")
    settled = {"failed": 1, "not_triggered": 0, "succeeded": 2, "running": 1, "pending": 1}

    def has_come() -> bool:
        counts = count_tasks(stores, [run_id])[run_id]
        return all(counts.get(state, 0) == count for state, count in settled.items())

    town.wait_for(has_come)
    yield run_id
    flag.touch()
    ended(town, run_id)


def test_a_run_that_goes_on_and_one_that_was_canceled(town: Any, halfway: str) -> None:
    pages = read_all(town, halfway)
    loops = {page for page in pages if re.fullmatch(r"\?within=for-loop-\d+", page)}
    assert len(loops) == 3
    # The second iteration has not begun: its page is there, its tasks are not.
    inside = {page for page in pages if page.startswith("?task=") and "%5B" in page}
    assert {page.rpartition("%5B")[2] for page in inside} == {"0%5D/use-4", "0%5D/use-5"}
    assert any(page.endswith("%5B2%5D") for page in pages)
    cancel_run(town.platform.stores, halfway, by="nora")
    town.platform.engine.wake()
    ended(town, halfway)
    assert read_all(town, halfway) >= loops


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_run_that_failed(town: Any, ir: bytes, policy: FailurePolicy) -> None:
    options = RunOptions(failure_policy=policy)
    run_id = submit_ir(town.platform, ir, arguments={"until": "/"}, by="nora", options=options)
    assert read_all(town, run_id)  # whatever it has come to by now
    ended(town, run_id)
    assert len(read_all(town, run_id)) > 8
