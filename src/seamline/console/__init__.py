"""Web pages over the same use cases as the API: server-rendered, pictures as SVG, no CDN.

Every page answers JSON at the same address when asked with `Accept: application/json` or
`?format=json`: what is on the page is in that JSON.
"""

from __future__ import annotations

from seamline.console.routes import make_router

__all__ = ["make_router"]
