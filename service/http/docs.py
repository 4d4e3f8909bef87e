"""The interactive page of the HTTP API at `/docs`: Swagger UI, of which BentoML brings a copy."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from service.http.openapi import URL

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>qasir: HTTP API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<script src="/docs/swagger-ui-bundle.js" defer></script>
<script src="/docs/start.js" defer></script>
</head>
<body><div id="swagger-ui"></div></body>
</html>
"""
START = f"""SwaggerUIBundle({{
  url: "{URL}", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
}});
"""
# Swagger UI sets styles from its script and draws icons from data URLs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(prefix="/docs", include_in_schema=False)


def _swagger_folder() -> Path:
    bentoml = find_spec("bentoml")
    assert bentoml is not None
    assert bentoml.origin is not None
    return Path(bentoml.origin).parent / "_internal" / "server" / "static_content"


_files = StaticFiles(directory=_swagger_folder())


@router.get("", name="docs")
async def docs() -> Response:
    """Show the page."""
    return HTMLResponse(PAGE, headers=HEADERS)


@router.get("/start.js", name="docs")
async def start() -> Response:
    """Send the script that opens the document."""
    return Response(START, headers=HEADERS, media_type="text/javascript")


@router.get("/swagger-ui{ending}", name="docs")
async def swagger(ending: str, request: Request) -> Response:
    """Send a file of Swagger UI."""
    response = await _files.get_response(f"swagger-ui{ending}", request.scope)
    response.headers.update(HEADERS)
    return response
