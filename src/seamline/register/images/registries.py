"""What an image reference stands for now, asked of its registry (OCI distribution API).

One HEAD of the manifest; with a token (Bearer) or a password (Basic) where the registry asks for
one. Passwords are those that container engines use, read when they are needed and never stored.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from seamline.domain.digests import digest_of
from seamline.domain.errors import NotFound, Refused, Unavailable
from seamline.register.images.references import DOCKER_HUB, ImageReference

TIMEOUT_S = 5.0
MAX_MANIFEST_BYTES = 4 << 20
#: An index first: for images of several platforms it is the index that everybody pins.
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
#: Under which Docker's own registry is filed where passwords are kept.
_HUB_NAMES = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")

#: Registry → "user:password" in base64, or None.
Passwords = Callable[[str], str | None]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def resolve_image(reference: ImageReference, passwords: Passwords) -> str:
    """The digest that the tag stands for now.

    Raises Unavailable (nobody answers), NotFound (no such image), Refused (not without other
    credentials, or not the registry's protocol).
    """
    if reference.digest is not None:
        return reference.digest
    name, tag = reference.name, reference.tag
    address = f"{_scheme(reference.registry)}://{reference.registry}"
    url = f"{address}/v2/{quote(name)}/manifests/{quote(tag)}"
    headers = {"Accept": _ACCEPT}
    answer = _ask("HEAD", url, headers)
    if answer.status == http.client.UNAUTHORIZED:
        headers |= _authorization(answer, reference, passwords)
        answer = _ask("HEAD", url, headers)
    what = f"{reference.registry}/{name}:{tag}"
    _check(answer, what)
    told = answer.headers.get("docker-content-digest", "")
    if _DIGEST.fullmatch(told):
        return told
    answer = _ask("GET", url, headers)
    _check(answer, what)
    return digest_of(answer.body)


def passwords_from(environ: Mapping[str, str]) -> Passwords:
    """From where podman, skopeo and docker look for them.

    >>> passwords_from({"HOME": "/nowhere"})("example.org") is None
    True
    """

    def find(registry: str) -> str | None:
        names = _HUB_NAMES if registry == DOCKER_HUB else (registry, f"https://{registry}")
        for path in _password_files(environ):
            kept = _read_auths(path)
            for name in names:
                if isinstance(entry := kept.get(name), dict) and entry.get("auth"):
                    return str(entry["auth"])
        return None

    return find


def _password_files(environ: Mapping[str, str]) -> Iterable[Path]:
    if "REGISTRY_AUTH_FILE" in environ:
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if "XDG_RUNTIME_DIR" in environ:
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    home = Path(environ.get("HOME", "/"))
    yield Path(environ.get("DOCKER_CONFIG", home / ".docker")) / "config.json"


def _read_auths(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    auths = document.get("auths") if isinstance(document, dict) else None
    return auths if isinstance(auths, dict) else {}


def _authorization(
    answer: Answer, reference: ImageReference, passwords: Passwords
) -> dict[str, str]:
    """What the registry's challenge asks for."""
    challenge = answer.headers.get("www-authenticate", "")
    scheme, _, rest = challenge.partition(" ")
    password = passwords(reference.registry)
    if scheme.lower() == "basic":
        if password is None:
            raise _no_password(reference.registry)
        return {"Authorization": f"Basic {password}"}
    asked = dict(_PARAMETER.findall(rest))
    if scheme.lower() != "bearer" or "realm" not in asked:
        raise Refused(f"{reference.registry} asks for {challenge[:200]!r}, which is not spoken.")
    query = {"service": asked.get("service", ""), "scope": f"repository:{reference.name}:pull"}
    realm = asked["realm"]
    _check_realm(reference.registry, realm)
    headers = {"Authorization": f"Basic {password}"} if password else {}
    told = _ask("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", headers)
    try:
        document = json.loads(told.body) if told.status == http.client.OK else {}
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str):
        raise _no_password(reference.registry)
    return {"Authorization": f"Bearer {token}"}


def _check_realm(registry: str, realm: str) -> None:
    """A password goes over an encrypted line, or stays on this machine."""
    try:
        parts = urlsplit(realm)
    except ValueError:
        parts = urlsplit("")
    is_here = _LOOPBACK.fullmatch(parts.netloc) and _LOOPBACK.fullmatch(registry)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise Refused(f"{registry} sends to {realm[:200]!r} for a token: that is not https.")


def _check(answer: Answer, what: str) -> None:
    if answer.status == http.client.OK:
        return
    if answer.status == http.client.NOT_FOUND:
        raise NotFound(f"There is no image {what}.", next_step="Push it, or correct its tag.")
    if answer.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise _no_password(what.partition("/")[0])
    raise Unavailable(
        f"The registry answers {answer.status} for {what}.", next_step="Try again later."
    )


def _no_password(registry: str) -> Refused:
    return Refused(
        f"{registry} does not let this server look at the image.",
        next_step=f"As the server's user: podman login {registry} (or docker login).",
    )


def _scheme(registry: str) -> str:
    """Plain http on this machine only, as container engines have it.

    >>> _scheme("127.0.0.1:5000"), _scheme("localhost"), _scheme("127.0.0.1.example.org")
    ('http', 'http', 'https')
    """
    return "http" if _LOOPBACK.fullmatch(registry) else "https"


def _ask(method: str, url: str, headers: Mapping[str, str]) -> Answer:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        try:
            connection.request(
                method, f"{parts.path}?{parts.query}".rstrip("?"), None, dict(headers)
            )
            response = connection.getresponse()
            body = response.read(MAX_MANIFEST_BYTES + 1)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unavailable(
            f"The registry {parts.netloc} does not answer ({why}).", next_step="Try again later."
        ) from error
    if len(body) > MAX_MANIFEST_BYTES:
        raise Refused(f"{parts.netloc} sends more than {MAX_MANIFEST_BYTES} bytes of manifest.")
    told = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, told, body)
