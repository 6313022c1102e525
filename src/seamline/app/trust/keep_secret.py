"""Who may set and delete an environment's secrets, and that there is such an environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from seamline.app.platform import Platform
from seamline.promote.environments import TRAINING, find_environment
from seamline.trust.refusals import require
from seamline.trust.roles import Principal, Verb
from seamline.trust.secrets import (
    SecretInfo,
    SecretKind,
    delete_keys,
    find_secret,
    list_secrets,
    read_values,
    set_values,
)


def set_secret(
    platform: Platform,
    environment: str,
    kind: SecretKind,
    name: str,
    values: Mapping[str, bytes],
    who: Principal,
) -> SecretInfo:
    _check_may_set(platform, environment, who)
    return set_values(platform.stores, environment, kind, name, values, by=who.name)


def delete_secret(
    platform: Platform,
    environment: str,
    kind: SecretKind,
    name: str,
    keys: Collection[str],
    who: Principal,
) -> SecretInfo | None:
    """All of it, where no keys are named; else what is left of it."""
    _check_may_set(platform, environment, who)
    return delete_keys(platform.stores, environment, kind, name, keys or None, by=who.name)


def show_secrets(platform: Platform, environment: str) -> list[SecretInfo]:
    _check_environment(platform, environment)
    return list_secrets(platform.stores, environment)


def show_secret(
    platform: Platform, environment: str, kind: SecretKind, name: str
) -> dict[str, Any]:
    """Values of config maps are shown: as text, or as null where they are none."""
    _check_environment(platform, environment)
    shown = find_secret(platform.stores, environment, kind, name).to_json()
    if kind is SecretKind.CONFIG_MAP:
        values = read_values(platform.stores, environment, kind, name)
        shown["values"] = {key: _text(values[key]) for key in sorted(values)}
    return shown


def _check_may_set(platform: Platform, environment: str, who: Principal) -> None:
    _check_environment(platform, environment)
    verb = Verb.SET_TRAINING_SECRETS if environment == TRAINING else Verb.SET_SECRETS
    require(who, verb, environment)


def _check_environment(platform: Platform, environment: str) -> None:
    with platform.stores.db.read() as connection:
        find_environment(connection, environment)


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
