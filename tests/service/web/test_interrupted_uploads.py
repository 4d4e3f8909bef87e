"""Uploads that break in the middle: what has arrived is not sent again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Response, Route, expect

from tests.support.browser import DESKTOP, PHONE, WATCH, Reader, Readers
from tests.support.line import line_to
from tests.support.service import RunningService, large

UPLOADS = "**/v1/uploads/*"
MB = 1 << 20
WAITING = "waiting for the connection, 1.0 MB of 3.1 MB sent"


@dataclass
class Sent:
    """What the service took by PATCH: where each stretch of bytes began, and where it ended."""

    stretches: list[tuple[int, int]]

    def __call__(self, response: Response) -> None:
        if response.request.method == "PATCH" and response.status == 204:
            begin = response.request.headers["upload-offset"]
            self.stretches.append((int(begin), int(response.headers["upload-offset"])))

    def assert_once(self, path: Path) -> None:
        """Every byte went once."""
        ends = [0, *(end for _, end in self.stretches)]
        assert [begin for begin, _ in self.stretches] == ends[:-1]
        assert ends[-1] == path.stat().st_size


@pytest.fixture
def sent(reader: Reader) -> Sent:
    heard = Sent([])
    reader.page.on("response", heard)
    return heard


@pytest.fixture
def path(running_service: RunningService) -> Path:
    """Three slices: of one, of two megabytes, and the rest."""
    return large(running_service, 3 * MB)


def add(page: Page, path: Path) -> Locator:
    page.set_input_files("#chooser", path)
    return page.locator("#uploads li", has_text=path.name)


def after_the_first(then: Callable[[Route], None], times: int = 1) -> Callable[[Route], None]:
    """Let the first slice pass, and do something else with the next `times` PATCHes."""
    left = [times]

    def handle(route: Route) -> None:
        later = route.request.headers.get("upload-offset") not in (None, "0")
        if route.request.method == "PATCH" and later and left[0]:
            left[0] -= 1
            then(route)
        else:
            route.continue_()

    return handle


def add_until_held(page: Page, path: Path) -> Locator:
    """Send the first slice; the second one is never answered, as by a dead connection."""
    page.route(UPLOADS, after_the_first(lambda _: None))
    with page.expect_request(lambda asked: asked.headers.get("upload-offset") == str(MB)):
        return add(page, path)


def assert_ready(row: Locator) -> None:
    """It is sent, whatever pauses that takes, and ingested."""
    expect(row).to_have_attribute("data-state", "ready", timeout=30_000)


def unfinished(service: RunningService) -> set[str]:
    return {folder.name for folder in (service.settings.folders.uploads / "resumable").iterdir()}


def remembered(page: Page) -> list[str]:
    keys: list[str] = page.evaluate("Object.keys(localStorage)")
    return keys


def test_a_whole_file_goes_in_slices(reader: Reader, sent: Sent, path: Path) -> None:
    row = add(reader.visit(), path)
    assert_ready(row)
    assert sent.stretches == [(0, MB), (MB, 3 * MB), (3 * MB, path.stat().st_size)]
    assert remembered(reader.page) == []


def test_broken_slices_are_sent_again_and_nothing_else(
    reader: Reader, sent: Sent, path: Path
) -> None:
    page = reader.visit()
    page.route(UPLOADS, after_the_first(Route.abort, times=2))
    page.evaluate(WATCH)
    assert_ready(add(page, path))
    assert WAITING in page.evaluate("[...seen]")
    sent.assert_once(path)
    # After a break slices are small again.
    assert sent.stretches[1] == (MB, 2 * MB)
    reader.faults.clear()


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desk", "phone"]
)
def test_a_cut_connection_is_waited_for(
    readers: Readers,
    path: Path,
    running_service: RunningService,
    size: tuple[int, int],
    scheme: str,
) -> None:
    """Cut in the middle of the second slice."""
    with line_to(running_service.settings.http_port) as line:
        reader = readers(size, color_scheme=scheme)
        reader.home = line.url
        page, sent = reader.visit(), Sent([])
        page.on("response", sent)
        line.cut_after(2 * MB)
        row = add(page, path)
        expect(row.locator(".doing")).to_have_text(WAITING)
        expect(page.locator("#announcements")).to_contain_text(f"{path.name}: waiting for the conn")
        expect(row.get_by_role("button", name=f"Cancel: {path.name}")).to_be_visible()
        expect(row.get_by_role("progressbar", name=f"Progress of {path.name}")).to_be_visible()
        assert Axe().run(page).response["violations"] == []
        line.mend()
        assert_ready(row)
        # Nothing may still be asked of a line that ends.
        page.goto("about:blank")
    (_, cut), (again, _), *_ = sent.stretches
    assert cut == MB
    assert 1.9 * MB < again < 2 * MB, "what arrived of the broken slice is not sent again"
    assert sent.stretches[-1][1] == path.stat().st_size
    reader.faults.clear()


def test_back_online_it_goes_on_at_once(reader: Reader, sent: Sent, path: Path) -> None:
    """The page's clock stands still: nothing but the browser's word can wake it."""

    def go_offline(route: Route) -> None:
        page.context.set_offline(True)
        route.abort()

    page = reader.page
    page.clock.install()
    reader.visit()
    page.clock.pause_at(datetime.now() + timedelta(hours=1))
    page.route(UPLOADS, after_the_first(go_offline))
    row = add(page, path)
    expect(row.locator(".doing")).to_contain_text("waiting for the connection")
    page.context.set_offline(False)
    assert_ready(row)
    sent.assert_once(path)
    reader.faults.clear()


def test_the_same_file_goes_on_after_a_reload(reader: Reader, sent: Sent, path: Path) -> None:
    page = reader.visit()
    add_until_held(page, path)
    page.reload()
    assert len(remembered(page)) == 1
    row = add(page, path)
    assert_ready(row)
    sent.assert_once(path)
    assert remembered(page) == []


def test_an_upload_that_is_gone_begins_anew(
    reader: Reader, sent: Sent, path: Path, running_service: RunningService
) -> None:
    def delete(route: Route) -> None:
        speak = {"Tus-Resumable": "1.0.0"}
        assert running_service.http.delete(route.request.url, headers=speak).status_code == 204
        route.continue_()

    page = reader.visit()
    page.route(UPLOADS, after_the_first(delete))
    row = add(page, path)
    assert_ready(row)
    assert sent.stretches[:2] == [(0, MB), (0, MB)]
    reader.faults.clear()


def test_cancel_ends_the_upload_everywhere(
    reader: Reader, path: Path, running_service: RunningService
) -> None:
    page, before = reader.visit(), unfinished(running_service)
    row = add_until_held(page, path)
    assert len(unfinished(running_service) - before) == 1
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        row.get_by_role("button", name=f"Cancel: {path.name}").click()
    assert answer.value.status == 204
    expect(row).to_have_attribute("data-state", "cancelled")
    assert unfinished(running_service) <= before
    assert remembered(page) == []
    row.get_by_role("button", name=f"Try again: {path.name}").click()
    assert_ready(row)


def test_a_silent_connection_counts_as_lost(reader: Reader, sent: Sent, path: Path) -> None:
    page = reader.page
    page.clock.install()
    reader.visit()
    row = add_until_held(page, path)
    page.clock.fast_forward(31_000)
    assert_ready(row)
    sent.assert_once(path)


def test_a_file_that_changed_meanwhile_says_so(reader: Reader, path: Path) -> None:
    def lose(route: Route) -> None:
        path.unlink()
        route.abort()

    page = reader.visit()
    page.route(UPLOADS, after_the_first(lose))
    row = add(page, path)
    expect(row).to_have_attribute("data-state", "failed")
    expect(row.locator(".doing")).to_have_text("The file was changed or removed; add it again.")
    reader.faults.clear()


def test_a_file_that_is_being_sent_is_not_sent_twice(reader: Reader, path: Path) -> None:
    page = reader.visit()
    add_until_held(page, path)
    page.set_input_files("#chooser", path)
    expect(page.locator("#uploads li")).to_have_count(1)
    page.get_by_role("button", name=f"Cancel: {path.name}").click()
    expect(page.locator("#uploads li")).to_have_attribute("data-state", "cancelled")


def test_a_known_file_takes_the_place_of_its_row(
    reader: Reader, running_service: RunningService
) -> None:
    page, path = reader.visit(), running_service.new_video(8)
    running_service.kill(running_service.worker)
    try:
        for _ in range(2):
            row = add(page, path)
            expect(row.last.locator(".doing")).to_have_text("waiting its turn")
            expect(row).to_have_count(1)
    finally:
        running_service.start(running_service.worker)
    assert_ready(row)


def test_what_no_file_came_back_for_is_forgotten(
    reader: Reader, running_service: RunningService
) -> None:
    page = reader.visit()
    page.evaluate("""() => {
        const note = (days) => JSON.stringify({ place: "", kept: Date.now() - days * 86_400_000 });
        localStorage.setItem("qasir-upload 1 1 old.mp4", note(8));
        localStorage.setItem("qasir-upload 1 1 new.mp4", note(6));
    }""")
    row = add(page, running_service.new_video(6))
    assert_ready(row)
    assert remembered(page) == ["qasir-upload 1 1 new.mp4"]
