"""Every tab for every reader: axe-core's rules, in light at a desk and in dark on a phone."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.browser import DESKTOP, PHONE, Readers
from tests.support.service import RunningService


@pytest.fixture(scope="module")
def video(running_service: RunningService) -> str:
    running_service.search()
    return running_service.ingested(12)


PLACES = {
    "search": "/?q=a+red+ball",
    "nothing asked": "/",
    "library": "/?tab=library",
    "study": "/?tab=study",
    "status": "/?tab=status",
    "player": "/?q=a+red+ball&video={video}&t=2.00&end=4.00",
}


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desk", "phone"]
)
def test_no_rule_of_axe_is_broken(
    readers: Readers, video: str, size: tuple[int, int], scheme: str
) -> None:
    reader = readers(size, color_scheme=scheme, reduced_motion="reduce")
    broken: dict[str, Any] = {}
    for name, path in PLACES.items():
        page = reader.visit(path.format(video=video))
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        found = Axe().run(page).response["violations"]
        if found:
            broken[name] = [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found]
    assert broken == {}


def test_dark_is_dark(readers: Readers) -> None:
    def paper(scheme: str) -> str:
        page = readers(color_scheme=scheme).visit()
        color: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return color

    assert paper("dark") == "rgb(18, 20, 23)"
    assert paper("light") == "rgb(246, 246, 244)"
