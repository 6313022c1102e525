"""Secrets and config maps of an environment. Values come in; only those of config maps go out."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from seamline.app.trust.keep_secret import delete_secret, set_secret, show_secret, show_secrets
from seamline.domain.errors import InvalidInput
from seamline.protocols.native.access import PlatformOf, Reader, SecretKeeper
from seamline.protocols.uploads import limited_route
from seamline.trust.roles import Verb
from seamline.trust.secret_rules import MAX_BYTES, check_key
from seamline.trust.secrets import SecretKind

#: JSON may write each byte of a value as six.
ROUTER = APIRouter(route_class=limited_route(8 * MAX_BYTES, Verb.SET_TRAINING_SECRETS))


class NewValues(BaseModel):
    kind: SecretKind = SecretKind.SECRET
    #: key → text
    values: dict[str, str] = {}
    #: key → any bytes, in base64
    values_base64: dict[str, str] = {}

    def all(self) -> dict[str, bytes]:
        twice = self.values.keys() & self.values_base64.keys()
        if twice:
            raise InvalidInput("A key is given both as text and in base64.")
        binary = {key: _decoded(key, text) for key, text in self.values_base64.items()}
        return {key: _encoded(key, text) for key, text in self.values.items()} | binary


@ROUTER.get("/environments/{environment}/secrets")
def list_(platform: PlatformOf, who: Reader, environment: str) -> list[dict[str, Any]]:
    return [one.to_json() for one in show_secrets(platform, environment)]


@ROUTER.get("/environments/{environment}/secrets/{name}")
def show(
    platform: PlatformOf,
    who: Reader,
    environment: str,
    name: str,
    kind: SecretKind = SecretKind.SECRET,
) -> dict[str, Any]:
    return show_secret(platform, environment, kind, name)


@ROUTER.post("/environments/{environment}/secrets/{name}")
def set_(
    platform: PlatformOf, who: SecretKeeper, environment: str, name: str, body: NewValues
) -> dict[str, Any]:
    return set_secret(platform, environment, body.kind, name, body.all(), who).to_json()


@ROUTER.delete("/environments/{environment}/secrets/{name}")
def delete(
    platform: PlatformOf,
    who: SecretKeeper,
    environment: str,
    name: str,
    kind: SecretKind = SecretKind.SECRET,
    key: Annotated[list[str] | None, Query()] = None,
) -> dict[str, Any]:
    left = delete_secret(platform, environment, kind, name, key or [], who)
    gone = {"environment": environment, "kind": kind, "name": name, "keys": []}
    return left.to_json() if left else gone


def _decoded(key: str, text: str) -> bytes:
    check_key(key)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"The value of {key!r} is no base64.") from None


def _encoded(key: str, text: str) -> bytes:
    check_key(key)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"The value of {key!r} holds half of a character.") from None
