"""Two teams, one address, unmodified clients: no team gets under the other's names."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import pytest
from kfp.registry import ApiAuth, RegistryClient
from requests import HTTPError

from seamline.register.packages.index import list_package_files
from seamline.register.pipelines.catalogue import find_tag, list_tags
from seamline.trust.roles import Scope, Verb
from seamline.trust.tokens import revoke_token, rotate_token

Run = Callable[..., subprocess.CompletedProcess[str]]
Compiled = Callable[..., Path]
Wheel = Callable[[str, str], Path]


def registry(address: Any, token: str) -> RegistryClient:
    return RegistryClient(host=address.registry, auth=ApiAuth(token))


def send(run: Run, tool: str, address: Any, token: str, path: Path) -> tuple[int, str]:
    """The exit code and what the tool said."""
    options = {
        "twine": ("upload", "--disable-progress-bar", "--verbose", "--repository-url"),
        "uv": ("publish", "--trusted-publishing", "never", "--publish-url"),
    }[tool]
    ran = run(tool, *options, address.upload, "-u", "__token__", "-p", token, path)
    return ran.returncode, ran.stdout + ran.stderr


def refusal(error: pytest.ExceptionInfo[HTTPError]) -> tuple[int, str]:
    return error.value.response.status_code, error.value.response.json()["error"]["message"]


def test_pipelines_of_two_teams(address: Any, compiled: Compiled, tmp_path: Path) -> None:
    ours = registry(address, address.issue("arrivals").token)
    theirs = registry(address, address.issue("punctuality").token)
    package, version = ours.upload_pipeline(str(compiled("arrivals")), tags=["1.0.0", "latest"])
    other, _ = theirs.upload_pipeline(str(compiled("punctuality")), tags=["1.0.0"])
    another = str(compiled("arrivals", 2))
    attacks: list[Callable[[], object]] = [
        lambda: theirs.upload_pipeline(another, tags=["1.0.1", "latest"]),
        lambda: theirs.create_tag(package, version, "evil"),
        lambda: theirs.update_tag(package, version, "latest"),
        lambda: theirs.delete_tag(package, "latest"),
        lambda: theirs.delete_version(package, version),
        lambda: theirs.delete_package(package),
    ]
    for attack in attacks:
        with pytest.raises(HTTPError) as caught:
            attack()
        status, message = refusal(caught)
        assert status == 403
        assert "arrivals belongs to the team arrivals; pia (punctuality) cannot" in message
    assert [tag.tag for tag in list_tags(address.stores, package)] == ["1.0.0", "latest"]
    assert find_tag(address.stores, package, "latest").digest == version
    # Reading is everybody's: that is how pipelines get sewn together.
    target = tmp_path / "fetched.yaml"
    theirs.download_pipeline(package, tag="1.0.0", file_name=str(target))
    assert target.read_bytes() == compiled("arrivals").read_bytes()
    ours.upload_pipeline(another, tags=["1.1.0", "latest"])
    assert {found["displayName"] for found in theirs.list_packages()} >= {package, other}


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_packages_of_two_teams(address: Any, wheel: Wheel, run: Run, tool: str) -> None:
    ours, theirs = address.issue("arrivals").token, address.issue("punctuality").token
    name = f"arrivals-tools-{tool}"
    code, said = send(run, tool, address, ours, wheel(name, "1.0"))
    assert code == 0, said
    code, said = send(run, tool, address, theirs, wheel(name, "1.1"))
    assert code != 0
    assert "403" in said
    assert send(run, tool, address, ours, wheel(name, "1.2"))[0] == 0
    files = list_package_files(address.stores, "dataops", name)
    assert [(file.version, file.uploaded_by) for file in files] == [("1.0", "ada"), ("1.2", "ada")]


def test_the_other_clients_of_one_token(
    address: Any, compiled: Compiled, wheel: Wheel, run: Run, tmp_path: Path
) -> None:
    """kfp.Client by Bearer, pip and uv by Basic."""
    ours, theirs = address.issue("arrivals").token, address.issue("punctuality").token
    assert send(run, "twine", address, ours, wheel("shared-tools", "1.0"))[0] == 0
    fetch = ("download", "--no-deps", "--dest", tmp_path / "fetched", "shared-tools==1.0")
    ran = run("pip", *fetch, "--index-url", address.simple(theirs))
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == [
        wheel("shared-tools", "1.0").name
    ]
    ran = run(
        "uv", "pip", "install", "--no-deps", "--target", tmp_path / "installed",
        "--index-url", address.simple(theirs), "shared-tools",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "installed/shared_tools.py").exists()
    mine = client(address, ours)
    made = mine.upload_pipeline(str(compiled("uploaded")), pipeline_name="uploaded")
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client(address, theirs).upload_pipeline_version(
            str(compiled("uploaded", 2)), "2", pipeline_id=made.pipeline_id
        )
    assert caught.value.status == 403
    assert "belongs to the team arrivals" in json.loads(caught.value.body)["message"]
    with pytest.raises(kfp_server_api.ApiException) as caught:
        client(address, theirs).delete_pipeline(made.pipeline_id)
    assert caught.value.status == 403


def test_what_a_token_is_limited_to(
    address: Any, compiled: Compiled, wheel: Wheel, run: Run, tmp_path: Path
) -> None:
    only = frozenset({"staging"})
    elsewhere = address.issue("arrivals", Scope(environments=only)).token
    with pytest.raises(HTTPError) as caught:
        registry(address, elsewhere).upload_pipeline(str(compiled("limited")))
    assert refusal(caught) == (
        403,
        "This token of ada is for staging; the request is about dataops.",
    )
    code, said = send(run, "twine", address, elsewhere, wheel("limited-tools", "1.0"))
    assert code != 0
    assert "403" in said
    whole = address.issue("arrivals").token
    assert send(run, "twine", address, whole, wheel("limited-tools", "1.0"))[0] == 0
    fetch = ("download", "--no-deps", "--dest", tmp_path / "got", "limited-tools", "--index-url")
    assert run("pip", *fetch, address.simple(elsewhere)).returncode != 0
    assert list((tmp_path / "got").iterdir()) == []
    assert run("pip", *fetch, address.simple(whole)).returncode == 0
    with pytest.raises(kfp_server_api.ApiException) as forbidden:
        client(address, elsewhere).list_runs(namespace="production")
    assert forbidden.value.status == 403
    assert client(address, elsewhere).list_runs(namespace="staging").runs in (None, [])
    reader = address.issue("arrivals", Scope(verbs=frozenset({Verb.READ}))).token
    assert isinstance(registry(address, reader).list_packages(), list)
    with pytest.raises(HTTPError) as caught:
        registry(address, reader).upload_pipeline(str(compiled("limited")))
    assert "limited to verbs read" in refusal(caught)[1]
    names = {found["displayName"] for found in registry(address, reader).list_packages()}
    assert "limited" not in names


def test_tokens_that_have_ended(address: Any, compiled: Compiled, wheel: Wheel, run: Run) -> None:
    stores = address.stores
    expired = address.issue("arrivals", days=1e-9)
    revoked, replaced, last = (address.issue("arrivals") for _ in range(3))
    with stores.db.transaction() as tx:
        revoke_token(tx, stores.facts, stores.clock, revoked.id, by="root")
        successor, _ = rotate_token(
            tx, stores.facts, stores.clock, replaced.id, by="root", grace_s=0
        )
        rotate_token(tx, stores.facts, stores.clock, last.id, by="root", grace_s=600)
    file, package = str(compiled("ended")), wheel("ended-tools", "1.0")
    for token, why in ((expired, "expired"), (revoked, "revoked"), (replaced, "replaced by")):
        with pytest.raises(HTTPError) as caught:
            registry(address, token.token).upload_pipeline(file)
        assert refusal(caught)[0] == 401
        assert why in refusal(caught)[1]
        code, said = send(run, "twine", address, token.token, package)
        assert code != 0
        assert "401" in said
    assert list_package_files(stores, "dataops", "ended-tools") == []
    # Both hold during the time of grace.
    for token in (successor, last):
        assert registry(address, token.token).upload_pipeline(file)[0] == "ended"
    assert send(run, "twine", address, last.token, package)[0] == 0


def client(address: Any, token: str) -> kfp.Client:
    with warnings.catch_warnings():
        # The client's constructor warns that it needs a server of version 2.
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=address.url, existing_token=token)
