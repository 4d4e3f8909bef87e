"""The page at `/` and its files: static, revalidated by ETag, allowed to load nothing else."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

SERVICE = Path(__file__).resolve().parents[1]
# Both lie beside the code, in a checkout and in a Bento (bentofile.yaml includes them).
PAGE = SERVICE / "web"
PLOTS = SERVICE.parent / "results"

# Only the page's own files and routes may load, and no script may write markup, so a title with
# markup in it stays text.
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "media", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
# A plot contains its styles, and runs and fetches nothing.
PLOT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
COMMON = {
    # No build step puts a version into file names, so browsers must revalidate each file.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}

router = APIRouter(include_in_schema=False)
_files = StaticFiles(directory=PAGE)
_plots = StaticFiles(directory=PLOTS, check_dir=False)


@router.api_route("/", methods=["GET", "HEAD"], name="page")
async def page(request: Request) -> Response:
    """Send the page."""
    return await _file(_files, "index.html", request, POLICY)


@router.api_route("/assets/{path:path}", methods=["GET", "HEAD"], name="asset")
async def asset(path: str, request: Request) -> Response:
    """Send a file of the page."""
    return await _file(_files, path, request, POLICY)


@router.get("/study", name="study")
async def study() -> Mapping[str, list[str]]:
    """List the plots of the trade-off study; none where the results were left out."""
    return {"plots": sorted(path.name for path in PLOTS.glob("*.svg"))}


@router.api_route("/study/{name}.svg", methods=["GET", "HEAD"], name="plot")
async def plot(name: str, request: Request) -> Response:
    """Send one plot of the study."""
    return await _file(_plots, f"{name}.svg", request, PLOT_POLICY)


async def _file(folder: StaticFiles, path: str, request: Request, policy: str) -> Response:
    response = await folder.get_response(path, request.scope)
    response.headers.update({**COMMON, "Content-Security-Policy": policy})
    return response
