"""The library tab: what is there, what it is called, and getting rid of it."""

from playwright.sync_api import expect

from tests.support.browser import Reader
from tests.support.service import RunningService


def test_delete_asks_first_and_then_removes(
    reader: Reader, running_service: RunningService
) -> None:
    path = running_service.new_video()
    accepted = running_service.upload(path, title="Short lived").json()
    running_service.finished(accepted["job_id"])
    page = reader.visit("/?tab=library")
    card = page.locator("#library .card", has_text="Short lived")
    expect(card.locator("img")).to_be_visible()
    card.get_by_role("button", name="Delete Short lived").click()
    question = page.get_by_role("dialog", name="Delete “Short lived”?")
    question.get_by_role("button", name="Keep it").click()
    expect(question).to_be_hidden()
    assert accepted["video_id"] in running_service.found()
    card.get_by_role("button", name="Delete Short lived").click()
    question.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    assert accepted["video_id"] not in running_service.found()


def test_more_pages_come_on_request(reader: Reader, running_service: RunningService) -> None:
    while running_service.http.get("/v1/videos?limit=1").json()["total_count"] < 26:
        running_service.upload(running_service.new_video(3))
    page = reader.visit("/?tab=library")
    cards = page.locator("#library .card")
    expect(cards).to_have_count(24)
    page.locator("#library").get_by_role("button", name="Show more").click()
    total = running_service.http.get("/v1/videos?limit=1").json()["total_count"]
    expect(cards).to_have_count(min(total, 48))
    names = cards.evaluate_all("all => all.map((one) => one.dataset.video)")
    assert len(set(names)) == len(names)
