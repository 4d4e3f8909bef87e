"""The service's app in this process, on a real Triton, asked without a network."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from service.app import AppState, open_service
from service.http.app import create_app
from service.http.context import open_context
from service.http.middleware import RequestMiddleware
from service.settings import Settings
from tests.support.service import service_settings
from tests.support.triton import RunningTriton

LIMITS: dict[str, Any] = {"parallel_searches": 1, "waiting_searches": 1, "max_query_chars": 100}


@pytest.fixture(scope="module")
def limited(triton_server: RunningTriton, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with limits that are easy to reach."""
    base = service_settings(triton_server, tmp_path_factory.mktemp("contract") / "state")
    return base.model_copy(update=LIMITS)


@pytest.fixture
def core(limited: Settings) -> Iterator[AppState]:
    opened = open_service(limited)
    yield opened
    opened.close()


class Site:
    """The app, asked without a network."""

    def __init__(self, core: AppState) -> None:
        app = create_app()
        app.state.context = open_context(core)
        self._transport = httpx.ASGITransport(RequestMiddleware(app), raise_app_exceptions=False)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.ask_all([(method, path, options)])[0]

    def ask_all(self, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Ask everything at once."""

        async def run() -> list[httpx.Response]:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://site") as http:
                asked = [http.request(m, p, **options) for m, p, options in requests]
                return await asyncio.gather(*asked)

        return anyio.run(run)


@pytest.fixture
def site(core: AppState) -> Site:
    return Site(core)
