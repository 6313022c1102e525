"""The server that an environment is live on, when it is another one: asked by HTTP.

What it refuses is raised by its meaning and in its own words; that it cannot be reached is
Unavailable, and asked again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from seamline.app.other_server import Asked, asking
from seamline.app.platform import Platform
from seamline.promote.environments import Environment
from seamline.trust.secrets import SecretKind, read_text

#: The loop has other things to do than to wait for a server that is gone.
CONNECT_S = 5.0
#: For its answer: a shipment of some GB is hashed there.
ANSWER_S = {"GET": 10.0, "PUT": 30.0, "POST": 120.0}
_LONGEST_ANSWER = 4 << 20


@dataclass(frozen=True)
class FarServer:
    url: str
    token: str

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: Any) -> Any:
        sent = {"Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(body).encode(), sent)

    def put(self, path: str, data: bytes) -> Any:
        return self._ask("PUT", path, data, {"Content-Type": "application/octet-stream"})

    def _ask(self, method: str, path: str, body: bytes | None, sent: dict[str, str]) -> Any:
        asked = Asked(method, path, body, sent)
        answer_s = ANSWER_S[method]
        with asking(self.url, self.token, asked, connect_s=CONNECT_S, answer_s=answer_s) as answer:
            return answer.read_json(_LONGEST_ANSWER)


def find_far_server(platform: Platform, environment: Environment) -> FarServer:
    """With the token that the environment's policy names a secret for."""
    policy = environment.policy
    token = ""
    if policy.secret is not None:
        token = read_text(
            platform.stores, environment.name, SecretKind.SECRET, policy.secret, "token"
        )
    return FarServer(policy.url or "", token)
