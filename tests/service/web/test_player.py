"""Playing a moment: the right second, the right picture, from a click and from a link."""

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import Reader
from tests.fixtures.service import RunningService, wait_for
from tests.fixtures.videos import BITS, write_painted

# What the video shows: the brightness in the middle of each stripe, as `painted_number` reads it.
STRIPES = """(film) => {
  const canvas = new OffscreenCanvas(film.videoWidth, film.videoHeight);
  const pen = canvas.getContext("2d");
  pen.drawImage(film, 0, 0);
  const row = pen.getImageData(0, canvas.height / 2, canvas.width, 1).data;
  return Array.from({ length: %d }, (_, at) => row[4 * Math.floor((at + 0.5) * canvas.width / %d)]);
}""" % (BITS, BITS)  # noqa: UP031  # braces are the script's


@dataclass(frozen=True)
class Film:
    """Where the video element is."""

    at: float
    paused: bool
    ready: bool
    ended: bool


@pytest.fixture(scope="module")
def video(running_service: RunningService) -> str:
    """One minute that shows the number of its second."""
    path = running_service.folder / "seconds.mp4"
    write_painted(path, 60, fps=4, numbers=[frame // 4 for frame in range(240)])
    accepted = running_service.upload(path).json()
    assert running_service.finished(accepted["job_id"])["state"] == "ready"
    return str(accepted["video_id"])


def shown(page: Page) -> int:
    """The number painted into the frame that is on screen."""
    stripes: list[int] = page.locator("video").evaluate(STRIPES)
    return sum(
        (level > 127) << place for level, place in zip(stripes, range(BITS)[::-1], strict=True)
    )


def film(page: Page) -> Film:
    """The video as it is now."""
    return Film(
        **page.locator("video").evaluate(
            "(v) => ({ at: v.currentTime, paused: v.paused,"
            " ready: v.readyState > 2 && !v.seeking, ended: v.ended })"
        )
    )


def playing_from(page: Page, second: float) -> Film:
    """Wait until the video shows this second, or one after it."""
    found: Film = wait_for(
        lambda: (now := film(page)).ready and now.at >= second and now, seconds=15
    )
    return found


def test_click_plays_at_the_moment(
    reader: Reader, running_service: RunningService, video: str
) -> None:
    page = reader.visit("/?q=a+red+ball&group=moment")
    card = page.locator(f"#search .open[href*={video}]").first
    href = card.get_attribute("href") or ""
    start = float(href.split("t=")[1].split("&")[0])
    card.click()
    now = playing_from(page, start)
    assert now.at < start + 5
    # A frame is on screen a little before or after its time.
    assert abs(shown(page) - now.at) <= 1.5
    assert page.url.endswith(href)


def test_link_opens_the_moment_and_stops_at_its_end(reader: Reader, video: str) -> None:
    page = reader.visit(f"/?video={video}&t=41.00&end=43.00")
    expect(page.locator("#player")).to_be_visible()
    playing_from(page, 41)
    wait_for(lambda: film(page).paused)
    assert 43 <= film(page).at < 44
    assert shown(page) in (42, 43, 44)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#player")).to_be_hidden()
    expect(page).to_have_url(reader.home + "/")


def test_file_that_the_browser_cannot_play_is_offered_for_download(
    reader: Reader, running_service: RunningService
) -> None:
    path = running_service.folder / "old.avi"
    write_painted(path, 6, fps=1, codec="mpeg4")
    accepted = running_service.upload(path).json()
    running_service.finished(accepted["job_id"])
    page = reader.visit(f"/?video={accepted['video_id']}")
    expect(page.locator("#player .trouble")).to_contain_text("cannot play this file's format")
    link = page.locator("#player .trouble a")
    assert (link.get_attribute("href") or "").endswith(f"/v1/videos/{accepted['video_id']}/media")
