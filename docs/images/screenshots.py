"""The README's pictures of the page, from a running demo: python docs/images/screenshots.py [URL].

Needs /usr/bin/chromium, and a library of the demo's test videos, as `make demo` leaves it.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parent
QUERY = "a zebra face moving to the right"
VALUES = "all => all.map((one) => one.value)"
DESK, PHONE = (1180, 760), (360, 720)


def tab(browser: Browser, url: str, size: tuple[int, int], scheme: str = "light") -> Page:
    width, height = size
    context = browser.new_context(
        base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    return context.new_page()


def save(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=82)


def search(page: Page, query: str = QUERY) -> None:
    page.goto("/")
    page.get_by_role("searchbox").fill(query)
    page.locator("#search .card img").first.wait_for()


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = tab(browser, url, DESK)
        search(page)
        save(page, "search")
        phone = tab(browser, url, PHONE)
        search(phone)
        save(phone, "phone")
        dark = tab(browser, url, DESK, "dark")
        search(dark)
        dark.locator("#search .open").first.click()
        save(dark, "player")
        page.goto("/?tab=status")
        page.wait_for_timeout(3000)
        searcher = tab(browser, url, DESK)
        sizes = page.locator("select[name=grid] option").evaluate_all(VALUES)
        for words in ("balloon", "calendar", "car", "octopus", "glasses", "goat"):
            for size in sizes:
                searcher.goto(f"/?q={words}&grid={size}")
                searcher.locator("#search .card").first.wait_for()
        save(page, "status")
        browser.close()


if __name__ == "__main__":
    main()
