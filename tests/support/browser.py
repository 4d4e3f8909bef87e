"""A real Chromium, and a reader in front of it who minds what the page does on the side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from tests.support.programs import needed
from tests.support.service import RunningService

# No sandbox: tests may run as root. No /dev/shm: containers have little of it.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
)
DESKTOP = (1280, 800)
PHONE = (360, 740)
# Every text that an upload's line has shown.
WATCH = """() => {
  window.seen = new Set();
  const look = () => {
    for (const one of document.querySelectorAll("#uploads .doing")) seen.add(one.textContent);
  };
  const all = { subtree: true, childList: true, characterData: true };
  new MutationObserver(look).observe(document.body, all);
}"""


# Other tests run beside these on the same cores.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module's tests; it ends with the module, as its event loop must."""
    path = needed("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass
class Reader:
    """A tab of its own, and everything wrong that it saw."""

    page: Page
    home: str
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._asked)

    def visit(self, path: str = "/") -> Page:
        """Open the page there."""
        self.page.goto(self.home + path)
        return self.page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.home}/", "blob:", "data:")):
            self.foreign.append(request.url)


Readers = Callable[..., Reader]


@pytest.fixture
def readers(browser: Browser, running_service: RunningService) -> Iterator[Readers]:
    """Readers of the running service's page; at the end none may have seen anything wrong."""
    home = str(running_service.http.base_url).rstrip("/")
    made: list[Reader] = []

    def make(size: tuple[int, int] = DESKTOP, **options: Any) -> Reader:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(30_000)
        made.append(Reader(context.new_page(), home))
        return made[-1]

    yield make
    seen = [(reader.faults, reader.foreign) for reader in made]
    for reader in made:
        reader.page.context.close()
    assert all(found == ([], []) for found in seen), seen


@pytest.fixture
def reader(readers: Readers) -> Reader:
    """One reader at a desk."""
    return readers()
