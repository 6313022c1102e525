"""The simple index's pages: HTML (PEP 503, 592, 658, 714) and JSON (PEP 691, 700), kept rendered.

A page of thousands of links is made once for each state of the index and sent as it is after that.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from seamline.register.packages.index import PackageFile
from seamline.register.packages.yanks import Yank

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
API_VERSION = "1.1"
#: Of all pages that are kept.
MAX_KEPT_BYTES = 32 << 20


@dataclass(frozen=True)
class Page:
    body: bytes
    media_type: str
    etag: str


class PageCache:
    """The newest rendering of each page, the least used first to go. Safe in many threads."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._pages: OrderedDict[tuple[object, ...], tuple[tuple[int, ...], Page]] = OrderedDict()

    def page(
        self, key: tuple[object, ...], state: tuple[int, ...], render: Callable[[], Page]
    ) -> Page:
        """`state`: read before `render` reads what it renders, so that a change in between makes
        the page too new for its label and never too old."""
        with self._lock:
            held = self._pages.get(key)
            if held is not None and held[0] == state:
                self._pages.move_to_end(key)
                return held[1]
        made = render()
        with self._lock:
            self._forget(key)
            self._pages[key] = (state, made)
            self._held_bytes += len(made.body)
            while self._held_bytes > self._max_bytes and self._pages:
                self._forget(next(iter(self._pages)))
        return made

    def _forget(self, key: tuple[object, ...]) -> None:
        held = self._pages.pop(key, None)
        if held is not None:
            self._held_bytes -= len(held[1].body)


def render_names(environment: str, names: Sequence[str], *, as_json: bool) -> Page:
    if as_json:
        return _json({"projects": [{"name": name} for name in names]})
    links = [f'<a href="{escape(name)}/">{escape(name)}</a>' for name in names]
    return _html(f"{environment} packages", links)


def render_files(
    name: str, files: Sequence[PackageFile], yanks: Mapping[str, Yank], *, as_json: bool
) -> Page:
    """One name's files; `yanks`: by the version that they hold back."""
    if as_json:
        versions = list(dict.fromkeys(file.version for file in files))
        listed = [describe_file(file, yanks.get(file.version)) for file in files]
        return _json({"name": name, "versions": versions, "files": listed})
    links = [link_file(file, yanks.get(file.version)) for file in files]
    return _html(f"Links for {name}", links)


def describe_file(file: PackageFile, yank: Yank | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "filename": file.filename,
        "url": address_of(file),
        "hashes": _hash(file.digest),
        "size": file.size_bytes,
        "upload-time": file.uploaded_at,
        "core-metadata": _hash(file.metadata_digest),
        "dist-info-metadata": _hash(file.metadata_digest),
        "yanked": False if yank is None else yank.reason or True,
    }
    if file.requires_python is not None:
        described["requires-python"] = file.requires_python
    return described


def link_file(file: PackageFile, yank: Yank | None) -> str:
    metadata = f"sha256={file.metadata_digest.removeprefix('sha256:')}"
    attributes = {
        "href": f"{address_of(file)}#sha256={file.digest.removeprefix('sha256:')}",
        "data-core-metadata": metadata,
        "data-dist-info-metadata": metadata,
    }
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if yank is not None:
        attributes["data-yanked"] = yank.reason
    spelt = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {spelt}>{escape(file.filename)}</a>"


def address_of(file: PackageFile) -> str:
    """Relative to /pypi/{environment}/simple/{name}/."""
    return f"../../files/{file.digest.removeprefix('sha256:')}/{file.filename}"


def _hash(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _json(body: dict[str, Any]) -> Page:
    document = {"meta": {"api-version": API_VERSION}, **body}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return _page(text.encode(), JSON_TYPE)


def _html(title: str, links: Sequence[str]) -> Page:
    lines = "".join(f"    {link}<br>\n" for link in links)
    text = (
        "<!DOCTYPE html>\n<html>\n  <head>\n"
        f'    <meta name="pypi:repository-version" content="{API_VERSION}">\n'
        f"    <title>{escape(title)}</title>\n  </head>\n  <body>\n{lines}  </body>\n</html>\n"
    )
    return _page(text.encode(), "text/html; charset=utf-8")


def _page(body: bytes, media_type: str) -> Page:
    return Page(body, media_type, f'"{hashlib.sha256(body).hexdigest()}"')


def wants_json(accept: str) -> bool:
    """Does the Accept header prefer JSON? HTML wins a draw, as for browsers and old clients.

    >>> wants_json("application/vnd.pypi.simple.v1+json, text/html; q=0.01")
    True
    >>> wants_json("text/html"), wants_json("*/*"), wants_json("")
    (False, False, False)
    """
    weights = {"json": 0.0, "html": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = _weight(parameter[2:])
        if kind in (JSON_TYPE, "application/vnd.pypi.simple.latest+json"):
            weights["json"] = max(weights["json"], weight)
        elif kind in (HTML_TYPE, "application/vnd.pypi.simple.latest+html", "text/html", "*/*"):
            weights["html"] = max(weights["html"], weight)
    return weights["json"] > weights["html"]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
