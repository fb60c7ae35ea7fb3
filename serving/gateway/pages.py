"""The pages of the server: `/`, which says what this is, and `/docs`, where its API can be read and tried.

Everything that they need is here: no page asks another host for anything, and none runs a script of its own text.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from serving.gateway.proxies import address

router = APIRouter(include_in_schema=False)

SWAGGER = Path(__file__).parent / "swagger"
"""Swagger UI 5.35.0 (npm: swagger-ui-dist), compressed, with its licence; `start.js` is ours."""
FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
}
PAGES = ("/", "/docs", *(f"/docs/{name}" for name in FILES))
"""Their addresses, open to everybody."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HOME = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>AdMint</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }</style>
<h1>AdMint $version</h1>
<p>Ads from a brief, on your own machines. This server works; programs and pages use its API.</p>
<ul>
<li><a href="$root/docs">The API, to read and to try</a></li>
<li><a href="$root/openapi.json">Its description for programs</a> (OpenAPI)</li>
<li><a href="$root/readyz">Whether all models are loaded</a></li>
</ul>
</html>
""")
_DOCS = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>AdMint: the API</title>
<link rel="stylesheet" href="$root/docs/swagger-ui.css">
<div id="api"></div>
<script src="$root/docs/swagger-ui-bundle.js"></script>
<script src="$root/docs/start.js"></script>
</html>
""")


@router.get("/")
async def home(accept: Annotated[str, Header()] = "") -> Response:
    """What this is: a page for people, the same addresses as JSON for programs."""
    if "text/html" in accept:
        return _page(_HOME)
    return JSONResponse(
        {
            "name": "AdMint",
            "version": version("admint"),
            "docs": address("/docs"),
            "openapi": address("/openapi.json"),
            "health": address("/healthz"),
            "ready": address("/readyz"),
        },
        headers={"Vary": "Accept"},
    )


@router.get("/docs")
async def docs() -> Response:
    """The API's description as a page."""
    return _page(_DOCS)


def _served(name: str) -> Callable[[Request], Awaitable[Response]]:
    """The route of a file of that page."""

    async def docs_file(request: Request) -> Response:
        packed, tag = _file(name)
        headers = {"ETag": tag, "Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type=FILES[name], headers=headers | {"Content-Encoding": "gzip"})
        return Response(gzip.decompress(packed), media_type=FILES[name], headers=headers)

    return docs_file


for _name in FILES:
    router.get(f"/docs/{_name}")(_served(_name))


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The API's description, with the address at which the caller reaches it."""
    described: dict[str, Any] = request.app.openapi()
    root = address("")
    return JSONResponse(described | {"servers": [{"url": root}]} if root else described)


@cache
def _file(name: str) -> tuple[bytes, str]:
    """A file of the page as gzip, and its entity tag."""
    packed = SWAGGER / f"{name}.gz"
    data = packed.read_bytes() if packed.exists() else gzip.compress((SWAGGER / name).read_bytes(), mtime=0)
    return data, f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def _page(template: Template) -> Response:
    filled = template.substitute(version=version("admint"), root=html.escape(address("")))
    return Response(
        filled,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache", "Vary": "Accept"},
    )
