"""Where a token's limits hold: over HTTP, however a request names an environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from seamline.console.routes import make_router as make_console
from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput
from seamline.domain.settings import Settings
from seamline.domain.states import Role
from seamline.server import ControlPlane, serve
from seamline.trust.access_list import AccessEntry, access_list_path, read_access_list
from seamline.trust.keys import load_public_key
from seamline.trust.principals import add_principal
from seamline.trust.roles import Scope, Verb
from seamline.trust.tokens import issue_token

Ask = Callable[..., httpx.Response]
IR = json.dumps(
    {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "nothing"},
        "root": {
            "dag": {
                "tasks": {
                    "do": {
                        "taskInfo": {"name": "do"},
                        "componentRef": {"name": "comp-do"},
                        "inputs": {},
                    }
                }
            }
        },
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {
            "executors": {"exec-do": {"container": {"image": "x", "command": ["true"]}}}
        },
    }
)
V1, KFP = "/api/v1", "/apis/v2beta1"


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    """One request: with a token from another machine, else by the owner."""
    plane.app.include_router(make_console())

    def send(method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        peer = "192.0.2.7" if token else "127.0.0.1"

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=(peer, 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, path, headers=headers, **more)

        return asyncio.run(one())

    return send


@pytest.fixture
def token(plane: ControlPlane) -> Callable[..., str]:
    """A token of root's deputy, who is an admin, with these limits."""
    stores = plane.platform.stores
    with stores.db.transaction() as tx:
        roles = frozenset({Role.ADMIN})
        add_principal(tx, stores.facts, stores.clock, "deputy", roles, by="root")

    def issue(*environments: str, verbs: frozenset[Verb] | None = None) -> str:
        scope = Scope(environments=frozenset(environments) or None, verbs=verbs)
        with stores.db.transaction() as tx:
            return issue_token(
                tx, stores.facts, stores.clock, "deputy", by="root", scope=scope
            ).token

    return issue


@pytest.fixture
def lived(ask: Ask) -> dict[str, str]:
    """Ids of what lives in dataops, made by the owner."""
    run = ask("POST", f"{V1}/runs", json={"ir": IR}).json()
    experiment = ask("POST", f"{KFP}/experiments", json={"display_name": "tries"}).json()
    schedule = ask(
        "POST", f"{V1}/schedules", json={"name": "nightly", "ir": IR, "interval_s": 3600}
    ).json()
    return {
        "run": run["id"],
        "experiment": experiment["experiment_id"],
        "schedule": schedule["id"],
    }


def about(environment: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Each way in which a request names an environment."""
    named = {"environment": environment}
    values = {"values": {"k": "v"}}
    return [
        ("GET", f"/pypi/{environment}/simple/", {}),
        ("GET", f"{V1}/environments/{environment}/secrets", {}),
        ("POST", f"{V1}/environments/{environment}/secrets/s", {"json": values}),
        ("GET", f"{V1}/runs", {"params": named}),
        ("GET", f"{V1}/schedules", {"params": named}),
        ("POST", f"{V1}/runs", {"json": {"ir": IR, **named}}),
        ("POST", f"{V1}/promotions", {"json": {"release": "none", **named}}),
        ("GET", f"{KFP}/runs", {"params": {"namespace": environment}}),
        ("GET", f"{KFP}/experiments", {"params": {"namespace": environment}}),
        (
            "POST",
            f"{KFP}/experiments",
            {"json": {"display_name": "x", "namespace": environment}},
        ),
        ("GET", "/runs", {"params": named}),
    ]


@pytest.mark.parametrize("index", range(len(about(""))))
def test_a_request_names_its_environment(ask: Ask, token: Callable[..., str], index: int) -> None:
    only = token("staging")
    method, path, more = about("staging")[index]
    assert ask(method, path, only, **more).status_code not in (401, 403)
    method, path, more = about("production")[index]
    answer = ask(method, path, only, **more)
    assert answer.status_code == 403
    assert "is for staging; the request is about production" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{V1}/runs/{{run}}", None),
        ("GET", f"{V1}/runs/{{run}}/log?task=x", None),
        ("POST", f"{V1}/runs/{{run}}/cancel", {}),
        ("POST", f"{V1}/runs/{{run}}/rerun", {}),
        ("GET", f"{V1}/model-refusals?run_id={{run}}", None),
        ("GET", f"{KFP}/runs/{{run}}", None),
        ("POST", f"{KFP}/runs/{{run}}:terminate", None),
        ("GET", "/runs/{run}", None),
        ("GET", f"{V1}/schedules/nightly", None),
        ("POST", f"{V1}/schedules/{{schedule}}/pause", None),
        ("GET", f"{KFP}/recurringruns/{{schedule}}", None),
        ("GET", f"{KFP}/experiments/{{experiment}}", None),
        ("GET", f"{KFP}/runs?experiment_id={{experiment}}", None),
        ("POST", f"{KFP}/runs", {"experiment_id": "{experiment}"}),
        ("POST", f"{KFP}/runs", {"experimentId": "{experiment}"}),
    ],
)
def test_what_lives_in_an_environment_names_it(
    ask: Ask,
    token: Callable[..., str],
    lived: dict[str, str],
    method: str,
    path: str,
    body: dict[str, str] | None,
) -> None:
    filled = path.format(**lived)
    sent = None if body is None else {key: value.format(**lived) for key, value in body.items()}
    refused = ask(method, filled, token("staging"), json=sent)
    assert refused.status_code == 403, refused.text
    assert "dataops" in refused.text
    allowed = ask(method, filled, token("staging", "dataops"), json=sent)
    assert allowed.status_code not in (401, 403), allowed.text


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("POST", f"{V1}/pipelines", {"content": IR.encode()}),
        ("POST", "/kfp/registry/default/main", {"files": {"content": IR.encode()}}),
        ("POST", f"{V1}/runs", {"json": {"ir": IR}}),
        ("POST", f"{V1}/datasets/none/deliveries?source=x", {"content": b"a\n1\n"}),
        ("POST", f"{V1}/evaluations", {"json": {"model": "m", "run_id": "none"}}),
        ("POST", f"{KFP}/experiments", {"json": {"display_name": "x"}}),
        ("GET", f"{KFP}/runs", {}),
    ],
)
def test_what_names_none_is_about_dataops(
    ask: Ask, token: Callable[..., str], method: str, path: str, more: dict[str, Any]
) -> None:
    answer = ask(method, path, token("production"), **more)
    assert answer.status_code == 403
    assert "about dataops" in answer.text
    assert ask(method, path, token("dataops"), **more).status_code not in (401, 403)


@pytest.mark.parametrize("path", [f"{V1}/runs", f"{V1}/schedules", "/runs"])
def test_lists_over_all_environments_have_to_name_one(
    ask: Ask, token: Callable[..., str], path: str
) -> None:
    answer = ask("GET", path, token("dataops"))
    assert answer.status_code == 403
    assert "every environment" in answer.text
    assert ask("GET", path, token()).status_code == 200


@pytest.mark.parametrize("path", [f"{V1}/board", f"{V1}/models", f"{V1}/pipelines", "/"])
def test_the_workspace_is_no_environment(ask: Ask, token: Callable[..., str], path: str) -> None:
    assert ask("GET", path, token("production")).status_code == 200


def test_a_limited_token_administers_nothing(ask: Ask, token: Callable[..., str]) -> None:
    limited = token("dataops")
    for path, body in (
        ("/tokens", {"principal": "deputy"}),
        ("/principals", {"name": "eve", "roles": ["admin"]}),
        ("/teams", {"name": "t"}),
        ("/project/apply", {"file": "seamline.toml", "text": ""}),
    ):
        answer = ask("POST", V1 + path, limited, json=body)
        assert answer.status_code == 403
        assert "limited to environments dataops" in answer.text


def test_verbs(ask: Ask, token: Callable[..., str]) -> None:
    reader = token(verbs=frozenset({Verb.READ}))
    assert ask("GET", f"{V1}/runs", reader).status_code == 200
    assert ask("POST", f"{V1}/runs", reader, json={"ir": IR}).status_code == 403
    runner = token(verbs=frozenset({Verb.RUN}))
    assert ask("GET", f"{V1}/runs", runner).status_code == 403
    assert ask("POST", f"{V1}/runs", runner, json={"ir": IR}).status_code == 200


@pytest.mark.parametrize(
    ("environment", "verb"),
    [("dataops", Verb.SET_TRAINING_SECRETS), ("production", Verb.SET_SECRETS)],
)
def test_one_verb_is_enough_for_what_it_names(
    ask: Ask, token: Callable[..., str], environment: str, verb: Verb
) -> None:
    path, values = f"{V1}/environments/{environment}/secrets/s", {"values": {"k": "v"}}
    keeper = token(environment, verbs=frozenset({verb}))
    assert ask("POST", path, keeper, json=values).status_code == 200
    publisher = token(environment, verbs=frozenset({Verb.PUBLISH}))
    assert ask("POST", path, publisher, json=values).status_code == 403


def test_tokens_and_teams_over_http(ask: Ask, clock: ManualClock) -> None:
    """As the command line does it."""

    def send(method: str, path: str, body: Any = None) -> Any:
        answer = ask(method, V1 + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    send("POST", "/principals", {"name": "ada", "roles": ["developer"]})
    send("POST", "/teams", {"name": "arrivals"})
    send("POST", "/teams/arrivals/members", {"principal": "ada"})
    assert send("GET", "/teams") == [{"name": "arrivals", "members": ["ada"]}]
    ada = {"name": "ada", "roles": ["developer"], "grants": [], "teams": ["arrivals"]}
    assert ada in send("GET", "/principals")
    limits = {"team": "arrivals", "environments": ["dataops"], "verbs": ["publish", "read"]}
    made = send("POST", "/tokens", {"principal": "ada", **limits, "days": 30})
    assert {key: made[key] for key in limits} == limits
    published = ask("POST", f"{V1}/pipelines", made["token"], content=IR.encode())
    assert published.status_code == 200
    assert send("GET", "/names?team=arrivals") == [
        {"registry": "default/main", "name": "nothing", "owner": "ada", "team": "arrivals"}
    ]
    mine = ask("GET", f"{V1}/tokens?principal=deputy", made["token"]).json()
    assert {one["principal"] for one in mine} == {"ada"}  # whoever is asked for
    assert "token" not in mine[0]
    rotated = send("POST", f"/tokens/{made['id']}/rotate", {"grace_s": 60})
    assert rotated["replaces"] == made["id"]
    clock.advance(61)
    assert ask("GET", f"{V1}/tokens", made["token"]).status_code == 401
    assert ask("GET", f"{V1}/tokens", rotated["token"]).status_code == 200
    send("DELETE", f"/tokens/{rotated['id']}")
    assert "revoked" in ask("GET", f"{V1}/tokens", rotated["token"]).json()["error"]["message"]
    send("POST", "/teams", {"name": "punctuality"})
    handed = {"kind": "pipeline", "name": "nothing"}
    assert send("POST", "/teams/punctuality/names", handed)["team"] == "punctuality"
    send("DELETE", "/teams/arrivals/members/ada")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"principal": "ada", "enviroments": ["dataops"]}, "enviroments"),
        ({"principal": "ada", "environments": ["stagin"]}, "Did you mean staging"),
        ({"principal": "ada", "verbs": ["publis"]}, "Did you mean publish"),
        ({"principal": "ada", "environments": []}, "no environments"),
        ({"principal": "ada", "endpoints": ["late"]}, "There is no endpoint 'late'"),
        ({"principal": "ada", "endpoints": []}, "no endpoints"),
    ],
)
def test_a_limit_that_is_spelled_wrong_is_not_no_limit(
    ask: Ask, body: dict[str, Any], says: str
) -> None:
    ask("POST", f"{V1}/principals", json={"name": "ada", "roles": ["developer"]})
    answer = ask("POST", f"{V1}/tokens", json=body)
    assert answer.status_code in (400, 404)
    assert says in answer.text


def test_who_may_ask_the_data_plane_is_written_down_before_the_answer(
    ask: Ask, plane: ControlPlane
) -> None:
    """And a token that it lets in there is no key to anything here."""
    root = plane.platform.root
    public = load_public_key(root / "keys" / "signing.pub")

    def listed() -> dict[str, AccessEntry]:
        found = read_access_list(access_list_path(root), public)
        return {one.token_digest: one for one in found.entries}

    body = {"name": "app", "roles": ["caller"], "environments": ["production"]}
    token = ask("POST", f"{V1}/principals", json=body).json()["token"]
    assert listed()[digest_of(token.encode())].granted == {"predict": ("production",)}
    assert ask("GET", f"{V1}/runs", token).status_code == 403
    another = ask("POST", f"{V1}/tokens", json={"principal": "app", "verbs": ["predict"]}).json()
    assert listed()[digest_of(another["token"].encode())].verbs == ("predict",)
    rotated = ask("POST", f"{V1}/tokens/{another['id']}/rotate", json={"grace_s": 60}).json()
    assert listed()[digest_of(another["token"].encode())].expires_at == rotated["old_until"]
    ask("DELETE", f"{V1}/tokens/{another['id']}")
    assert set(listed()) == {digest_of(one.encode()) for one in (token, rotated["token"])}
    role = {"role": "caller", "environment": "staging"}
    ask("POST", f"{V1}/principals/app/roles", json=role)
    granted = {"predict": ("production", "staging")}
    assert listed()[digest_of(token.encode())].granted == granted
    ask("POST", f"{V1}/principals/app/roles/take", json=role)
    assert listed()[digest_of(token.encode())].granted == {"predict": ("production",)}
    ask("DELETE", f"{V1}/principals/app/tokens")
    assert listed() == {}


def test_beyond_loopback_the_data_plane_is_not_started_without_tokens(tmp_path: Path) -> None:
    settings = Settings(workspace=tmp_path / "w", serve_host="192.0.2.1")
    with pytest.raises(InvalidInput, match="Add --serve-tokens"):
        serve(settings, lambda found, adopted: None)
    assert not settings.workspace.exists()
