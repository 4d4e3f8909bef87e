"""Playing a moment: the right second, the right picture, from a click and from a link."""

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Reader
from tests.support.service import RunningService
from tests.support.videos import BITS, write_painted
from tests.support.waiting import wait_for

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
    expect(page.locator("#player .trouble")).to_contain_text("cannot play this file format")
    link = page.locator("#player .trouble a")
    assert (link.get_attribute("href") or "").endswith(f"/v1/videos/{accepted['video_id']}/media")


def test_why_shows_the_attention_of_the_service(
    reader: Reader, running_service: RunningService, video: str
) -> None:
    url = f"/v1/videos/{video}/attention"
    told = running_service.http.post(url, json={"query": "a red ball"}).json()
    best = told["moments"][0]
    page = reader.visit(f"/?q=a+red+ball&video={video}&t={best['start']}&end={best['end']}")
    why = page.get_by_role("region", name="Why this moment")
    picture = why.get_by_role("img")
    expect(picture).to_have_attribute("src", re.compile(rf"/super-images/{best['super_image']}\?"))
    cells = why.locator(".cells button")
    expect(cells).to_have_count(4)
    first = 4 * best["super_image"]
    shares = cells.evaluate_all("all => all.map((one) => one.style.getPropertyValue('--strength'))")
    top = max(told["weights"])
    expected = [weight / top for weight in told["weights"][first : first + 4]]
    assert [float(share) for share in shares] == pytest.approx(expected, abs=1e-3)
    # A cell lies over its own quarter of the picture, and plays from its time.
    frame, cell = (place.bounding_box() for place in (picture, cells.nth(3)))
    assert frame is not None
    assert cell is not None
    assert cell["x"] == pytest.approx(frame["x"] + frame["width"] / 2, abs=1)
    assert cell["y"] == pytest.approx(frame["y"] + frame["height"] / 2, abs=1)
    cells.nth(3).click()
    now = playing_from(page, told["starts"][first + 3])
    assert now.at < told["starts"][first + 3] + 5
    why.get_by_role("button", name="Next super image").click()
    caption = f"{best['super_image'] + 2} of {told['super_image_count']}"
    expect(why.locator(".caption")).to_contain_text(caption)


def test_line_of_attention_seeks(
    reader: Reader, running_service: RunningService, video: str
) -> None:
    page = reader.visit(f"/?q=a+red+ball&video={video}&t=1&end=2")
    line = page.locator("#player .strip")
    expect(line.locator("rect")).to_have_count(60)
    box = line.bounding_box()
    assert box is not None
    line.click(position={"x": box["width"] * 0.75, "y": 10})
    assert playing_from(page, 44.5).at < 50


def test_more_like_this_searches_by_the_moment(reader: Reader, video: str) -> None:
    page = reader.visit(f"/?q=a+red+ball&video={video}&t=41.00&end=43.00")
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#player")).to_be_hidden()
    expect(page.locator("#search .like")).to_contain_text("More like this moment, 0:41 to 0:43")
    first = page.locator("#search .open").first
    # Nothing is more like it than itself.
    expect(first).to_have_attribute("href", re.compile(video))
    page.get_by_role("button", name="Search without this example").click()
    expect(page.locator("#search .card")).to_have_count(0)
