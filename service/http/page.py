"""The page at `/` and Swagger UI at `/docs`: static files that may load nothing else.

BentoML brings a copy of Swagger UI.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from service.http.openapi import URL

SERVICE = Path(__file__).resolve().parents[1]
# Both are next to the code, in a checkout and in a Bento (bentofile.yaml includes them).
PAGE = SERVICE / "web"
PLOTS = SERVICE.parent / "results"

# No script may write markup, so a title with markup in it stays text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# A plot contains its styles, and runs and fetches nothing.
PLOT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
# Swagger UI sets styles from its script and draws icons from data URLs.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
COMMON = {
    # No build step puts a version into file names, so browsers must revalidate each file.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
DOCS = """<!doctype html>
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
START_DOCS = f"""SwaggerUIBundle({{
  url: "{URL}", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
}});
"""


def _swagger_folder() -> Path:
    bentoml = find_spec("bentoml")
    assert bentoml is not None
    assert bentoml.origin is not None
    return Path(bentoml.origin).parent / "_internal" / "server" / "static_content"


router = APIRouter(include_in_schema=False)
_files = StaticFiles(directory=PAGE)
_plots = StaticFiles(directory=PLOTS, check_dir=False)
_swagger = StaticFiles(directory=_swagger_folder())


@router.api_route("/", methods=["GET", "HEAD"], name="page")
async def page(request: Request) -> Response:
    return await _file(_files, "index.html", request, POLICY)


@router.api_route("/assets/{path:path}", methods=["GET", "HEAD"], name="asset")
async def asset(path: str, request: Request) -> Response:
    return await _file(_files, path, request, POLICY)


@router.get("/study", name="study")
async def study() -> Mapping[str, list[str]]:
    """List the plots of the trade-off study; none where the results were left out."""
    return {"plots": sorted(path.name for path in PLOTS.glob("*.svg"))}


@router.api_route("/study/{name}.svg", methods=["GET", "HEAD"], name="plot")
async def plot(name: str, request: Request) -> Response:
    return await _file(_plots, f"{name}.svg", request, PLOT_POLICY)


@router.get("/docs", name="docs")
async def docs() -> Response:
    return _secured(HTMLResponse(DOCS), DOCS_POLICY)


@router.get("/docs/start.js", name="docs")
async def start_docs() -> Response:
    return _secured(Response(START_DOCS, media_type="text/javascript"), DOCS_POLICY)


@router.get("/docs/swagger-ui{ending}", name="docs")
async def swagger(ending: str, request: Request) -> Response:
    return await _file(_swagger, f"swagger-ui{ending}", request, DOCS_POLICY)


async def _file(folder: StaticFiles, path: str, request: Request, policy: str) -> Response:
    return _secured(await folder.get_response(path, request.scope), policy)


def _secured(response: Response, policy: str) -> Response:
    response.headers.update({**COMMON, "Content-Security-Policy": policy})
    return response
