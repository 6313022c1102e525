"""The server that an environment is live on, when it is another one: asked by HTTP.

What it refuses is raised by its meaning and in its own words; that it cannot be reached is
Unavailable, and asked again.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seamline.app.platform import Platform
from seamline.domain import errors
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
        headers = {**sent, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        address = urlsplit(self.url)
        is_secure = address.scheme == "https"
        kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=CONNECT_S)
        try:
            connection.connect()
            connection.sock.settimeout(ANSWER_S[method])
            connection.request(method, f"{address.path}/api/v1{path}", body, headers)
            response = connection.getresponse()
            data = response.read(_LONGEST_ANSWER)
            if response.status >= http.client.BAD_REQUEST:
                raise _meaning(self.url, response.status, data)
            return json.loads(data)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise errors.Unavailable(f"{self.url} does not answer: {error!r}.") from error
        finally:
            connection.close()


def find_far_server(platform: Platform, environment: Environment) -> FarServer:
    """With the token that the environment's policy names a secret for."""
    policy = environment.policy
    token = ""
    if policy.secret is not None:
        token = read_text(
            platform.stores, environment.name, SecretKind.SECRET, policy.secret, "token"
        )
    return FarServer(policy.url or "", token)


def _meaning(url: str, status: int, data: bytes) -> errors.SeamlineError:
    """What is no refusal of Seamline (a proxy's page, for one) may be better the next time."""
    try:
        said = json.loads(data)["error"]
        cls = errors.class_of_code(said["code"])
        if cls is not None and status < 500:
            return cls(f"{url} says: {said['message']}", next_step=str(said["next_step"]))
        # Bytes that came altered are sent again.
        return errors.Unavailable(f"{url} says: {said['message']}")
    except (ValueError, KeyError, TypeError):
        return errors.Unavailable(f"{url} answered {status}, and not as Seamline does.")
