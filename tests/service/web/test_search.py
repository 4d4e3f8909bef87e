"""The search tab: as it is typed, by keyboard, from a link, and when the service is busy."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Request, Route, expect

from tests.support.browser import DESKTOP, PHONE, Reader, Readers
from tests.support.service import RunningService

MARKUP = '<img src=x onerror="document.title=1"> & "co"'


@pytest.fixture(scope="module", autouse=True)
def library(running_service: RunningService) -> None:
    """More videos than a page of results; one has a title that wants to be markup."""
    for _ in range(12):
        running_service.upload(running_service.new_video(4))
    accepted = running_service.upload(running_service.new_video(20), title=MARKUP).json()
    running_service.finished(accepted["job_id"])


def test_results_come_as_it_is_typed(reader: Reader) -> None:
    reader.page.clock.install(time=datetime(2026, 1, 1, tzinfo=UTC))
    page = reader.visit()
    # No time passes while it is typed, however busy the machine is.
    page.clock.pause_at(datetime(2026, 1, 1, 1, tzinfo=UTC))
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if r.url.endswith("/v1/search") else None)
    page.get_by_role("searchbox").press_sequentially("a red ball")
    page.clock.run_for(100)
    assert asked == []
    page.clock.run_for(100)
    page.clock.resume()
    expect(page.locator("#search .card").first).to_be_visible()
    expect(page.locator("#search .summary")).to_contain_text(re.compile(r"videos?, .* (ms|s)$"))
    expect(page).to_have_url(re.compile(r"/\?q=a\+red\+ball$"))
    expect(page).to_have_title("a red ball · qasir")
    assert len(asked) == 1


def test_stale_answer_is_dropped(reader: Reader) -> None:
    page = reader.visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "slow" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/search", hold)
    box = page.get_by_role("searchbox")
    box.fill("slow dog")
    page.wait_for_timeout(400)
    assert len(held) == 1
    box.fill("a cat")
    expect(page.locator("#announcements")).to_contain_text("for a cat")
    expect(page.locator("#search .card").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"/\?q=a\+cat$"))


def test_title_with_markup_stays_text(reader: Reader) -> None:
    page = reader.visit("/?q=a+red+ball")
    title = page.locator("#search .title", has_text="<img src=x").first
    expect(title).to_have_text(MARKUP)
    assert page.locator("img[src=x]").count() == 0
    expect(page).to_have_title("a red ball · qasir")


def test_arrows_choose_enter_plays_and_escape_comes_back(reader: Reader) -> None:
    page = reader.visit("/?q=a+red+ball")
    expect(page.locator("#search .card").first).to_be_visible()
    page.locator("body").press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    links = page.locator("#search .open")
    expect(links.first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#player")).to_be_visible()
    assert "video=" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#player")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"/\?q=a\+red\+ball$"))
    expect(links.first).to_be_focused()


def test_every_moment_may_be_a_result(reader: Reader) -> None:
    page = reader.visit("/?q=a+red+ball")
    page.get_by_label("Group results").select_option("moment")
    expect(page).to_have_url(re.compile("group=moment"))
    expect(page.locator("#search .card").first).to_be_visible()
    expect(page.locator("#search .also")).to_have_count(0)


def test_conditions_choose_among_the_videos(
    reader: Reader, running_service: RunningService
) -> None:
    path = running_service.new_video(70)
    accepted = running_service.upload(path, title="A long talk").json()
    running_service.finished(accepted["job_id"])
    page = reader.visit("/?q=a+red+ball")
    titles = page.locator("#search .title")
    page.get_by_label("Words in the title").fill("LONG talk")
    expect(titles).to_have_text(["A long talk"])
    expect(page).to_have_url(re.compile(r"title=LONG\+talk"))
    page.get_by_label("Length of the video").select_option("Under a minute")
    notice = page.locator("#search .notice")
    expect(notice).to_contain_text("No video matches this title and length")
    page.get_by_label("Length of the video").select_option("1 to 10 minutes")
    expect(titles).to_have_text(["A long talk"])


def test_more_results_come_on_request(reader: Reader) -> None:
    page = reader.visit("/?q=a+red+ball")
    cards = page.locator("#search .card")
    expect(cards).to_have_count(12)
    page.locator("#search").get_by_role("button", name="Show more").click()
    expect(cards.nth(12)).to_be_visible()
    ranks = cards.locator(".rank").all_inner_texts()
    assert ranks == [str(number) for number in range(1, len(ranks) + 1)]


def test_served_grid_sizes_are_offered(reader: Reader) -> None:
    """As where two grid sizes are served: the first goes without saying."""
    asked: list[Any] = []

    def two_sizes(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["models"][0]["grid_sizes"] = [3, 2]
        route.fulfill(response=answer, json=told)

    def heard(request: Request) -> None:
        if request.url.endswith("/v1/search"):
            asked.append(request.post_data_json)

    reader.page.route("**/v1/models", two_sizes)
    reader.page.on("request", heard)
    page = reader.visit("/?q=a+red+ball&grid=2")
    choice = page.locator("select[name=grid]")
    expect(choice).to_have_value("2")
    assert choice.locator("option").all_inner_texts() == ["Grid 3 × 3", "Grid 2 × 2"]
    expect(page.locator("#search .card").first).to_be_visible()
    assert asked[-1]["grid_size"] == 2
    page.get_by_label("How to rank").select_option("fast")
    expect(page).to_have_url(re.compile("mode=fast"))
    expect(page.locator("#search .card").first).to_be_visible()
    assert asked[-1]["mode"] == "fast"


def test_provisional_order_is_asked_for_again(reader: Reader) -> None:
    answers: list[int] = []

    def provisional_at_first(route: Route) -> None:
        answers.append(1)
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "provisional": len(answers) < 2})

    reader.page.route("**/v1/search", provisional_at_first)
    page = reader.visit("/?q=a+red+ball")
    expect(page.locator("#search .summary")).to_contain_text("still refining")
    expect(page.locator("#search .summary")).not_to_contain_text("still refining")
    assert len(answers) == 2


def test_busy_service_is_asked_again(reader: Reader) -> None:
    page = reader.visit()
    answers: list[int] = []

    def busy(route: Route) -> None:
        answers.append(1)
        if len(answers) > 2:
            route.continue_()
            return
        problem = '{"detail": "65 searches under way.", "code": "overloaded", "retryable": true}'
        route.fulfill(status=429, body=problem, headers={"Retry-After": "1"})

    page.route("**/v1/search", busy)
    page.get_by_role("searchbox").fill("a dog")
    expect(page.locator("#search .busy")).to_contain_text("Trying again in 1 second")
    expect(page.locator("#search .card").first).to_be_visible()
    expect(page.locator("#search .busy")).to_have_count(0)
    assert len(answers) == 3
    reader.faults.clear()


def test_refusal_is_told_in_the_services_words(reader: Reader) -> None:
    page = reader.visit("/?q=a+dog&grid=7")
    expect(page.locator("#search .problem")).to_contain_text("grid size 7 is not indexed")
    reader.faults.clear()


def test_link_to_a_search_and_back_button(reader: Reader) -> None:
    page = reader.visit("/?q=a+cat")
    expect(page.get_by_role("searchbox")).to_have_value("a cat")
    page.get_by_role("link", name="Library").click()
    expect(page.get_by_role("heading", name="Library")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("a cat")
    expect(page.locator("#search .card").first).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_is_wider_than_the_screen(readers: Readers, size: tuple[int, int]) -> None:
    reader = readers(size)
    for path in ("/", "/?q=a+cat", "/?tab=library", "/?tab=study", "/?tab=status"):
        page = reader.visit(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
