"""The OpenAPI document: what FastAPI derives from the routes, and what it does not know."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from qasir import __version__
from qasir.contract.base import Problem
from qasir.errors import InvalidInput, ModelUnavailable, Overloaded, QasirError
from service.http.problems import PROBLEM_TYPE, status_of

URL = "/docs.json"
SCHEMAS = "#/components/schemas/"
CONTENT = {PROBLEM_TYPE: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}

Responses = dict[int | str, dict[str, Any]]

SEARCH_EXAMPLE = {"query": "a dog runs on the beach", "top_k": 5}

# What every route may answer.
COMMON: tuple[type[QasirError], ...] = (InvalidInput, Overloaded, ModelUnavailable)
# What routes with a JSON body may answer besides; see `service.http.app`.
BODY: Responses = {
    HTTPStatus.REQUEST_TIMEOUT.value: {
        "description": "`request_timeout`: the rest of the body did not come in time.",
        "content": CONTENT,
    },
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value: {
        "description": "`request_too_large`: the body has more bytes than a request may have.",
        "content": CONTENT,
    },
}
TAGS = {
    "search": "Find videos and moments by words, by a picture or by a segment of a video.",
    "videos": "Upload, list, show and delete videos.",
    "uploads": "Resumable uploads by tus 1.0.0: creation, termination and expiration.",
    "jobs": "Follow, cancel and retry the ingest of videos.",
    "models": "Build, activate and retire model versions.",
}


def documented(*errors: type[QasirError]) -> Responses:
    """Describe the errors that a route may answer, with those that every route may."""
    described: dict[int, list[str]] = {}
    for error in dict.fromkeys((*COMMON, *errors)):
        meaning = (error.__doc__ or "").partition("\n")[0]
        status = status_of(error).http.value
        described.setdefault(status, []).append(f"`{error.code}`: {meaning}")
    return {
        status: {"description": " ".join(texts), "content": CONTENT}
        for status, texts in described.items()
    }


class DocumentedApp(FastAPI):
    """An app whose document also defines the problem, which FastAPI takes for no JSON."""

    def __init__(self) -> None:
        super().__init__(
            title="qasir",
            version=__version__,
            summary="Search long videos by text with super images (QASIR).",
            description="Durations are in seconds. Errors are problems (RFC 9457) with a stable "
            "`code`; a `retryable` one may succeed later, after `Retry-After` where it is sent.",
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            servers=[{"url": "/", "description": "This service."}],
            openapi_tags=[{"name": n, "description": text} for n, text in TAGS.items()],
            openapi_url=URL,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            generate_unique_id_function=lambda route: route.name,
            responses={"default": {"description": "What went wrong.", "content": CONTENT}},
        )

    def openapi(self) -> dict[str, Any]:
        """Complete the document; FastAPI makes it once."""
        document = super().openapi()
        _, problem = models_json_schema(
            [(Problem, "serialization")], ref_template=SCHEMAS + "{model}"
        )
        schemas = document["components"]["schemas"]
        schemas.update(problem["$defs"])
        # Not in the contract itself: BentoML's own schema of a request allows no examples.
        schemas["SearchRequest"]["examples"] = [SEARCH_EXAMPLE]
        # The service has no authentication of its own.
        document["security"] = []
        return document
