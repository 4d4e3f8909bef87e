"""Files into the library: by the chooser, by dragging, and what becomes of them."""

from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import WATCH, Reader
from tests.support.service import RunningService

# A drop as a browser makes it: a transfer that holds a file, on the page's body.
DROP = """async ([url, name]) => {
  const bytes = await (await fetch(url)).blob();
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: "video/mp4" }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    if (kind === "dragover") window.dropping = document.body.className;
  }
}"""


def test_chosen_file_is_sent_followed_and_searchable(
    reader: Reader, running_service: RunningService
) -> None:
    page, path = reader.visit("/?tab=library"), running_service.new_video(9)
    page.evaluate(WATCH)
    page.set_input_files("#chooser", path)
    row = page.locator("#uploads li", has_text=path.name)
    expect(row).to_have_attribute("data-state", "ready")
    expect(row.locator(".doing")).to_have_text("searchable")
    seen = " | ".join(page.evaluate("[...seen]"))
    assert "sending" in seen
    expect(page.locator("#uploads h2")).to_have_text("All done")
    card = page.locator("#library .card", has_text=path.stem).first
    expect(card.locator("img")).to_be_visible()
    row.get_by_role("link").click()
    expect(page.locator("#player h2")).to_have_text(path.stem)


def test_dropped_file_is_sent(reader: Reader, running_service: RunningService) -> None:
    video = running_service.ingested()
    page = reader.visit("/")
    page.evaluate(DROP, [f"/v1/videos/{video}/media", "dropped.mp4"])
    assert page.evaluate("dropping") == "dropping"
    expect(page.locator("body")).not_to_have_class("dropping")
    row = page.locator("#uploads li", has_text="dropped.mp4")
    # These bytes are known: nothing is indexed twice.
    expect(row.locator(".doing")).to_have_text("already in the library")


def test_file_that_is_no_video_says_why(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("a dog runs on the beach")
    page = reader.visit("/")
    page.set_input_files("#chooser", path)
    row = page.locator("#uploads li", has_text="notes.mp4")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("not a video file")
    page.get_by_role("button", name="Clear finished").click()
    expect(page.locator("#uploads")).to_be_hidden()


def test_waiting_job_is_cancelled_and_tried_again(
    reader: Reader, running_service: RunningService
) -> None:
    """Without a worker a job waits; so there is time to change one's mind."""
    page, path = reader.visit("/"), running_service.new_video(7)
    running_service.kill(running_service.worker)
    try:
        page.set_input_files("#chooser", path)
        row = page.locator("#uploads li", has_text=path.name)
        stop = row.get_by_role("button", name=f"Cancel: {path.name}")
        expect(row.locator(".doing")).not_to_contain_text("sent")
        stop.click()
        expect(row).to_have_attribute("data-state", "cancelled")
    finally:
        running_service.start(running_service.worker)
    row.get_by_role("button", name=f"Try again: {path.name}").click()
    expect(row).to_have_attribute("data-state", "ready")


def test_jobs_of_others_are_followed(reader: Reader, running_service: RunningService) -> None:
    running_service.kill(running_service.worker)
    try:
        path = running_service.new_video(6)
        accepted = running_service.upload(path, title="From elsewhere").json()
        row = reader.visit("/").locator("#uploads li", has_text="From elsewhere")
        expect(row).to_have_attribute("data-state", "")
    finally:
        running_service.start(running_service.worker)
    expect(row).to_have_attribute("data-state", "ready")
    assert running_service.finished(accepted["job_id"])["state"] == "ready"


def test_big_file_is_refused_in_words(
    reader: Reader, running_service: RunningService, tmp_path: Path
) -> None:
    path = tmp_path / "huge.mp4"
    path.write_bytes(bytes(running_service.settings.max_upload_bytes + 1))
    page = reader.visit("/")
    page.set_input_files("#chooser", path)
    row = page.locator("#uploads li", has_text="huge.mp4")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("the limit is")
    # The browser tells its console of every refusal; this one is meant.
    reader.faults.clear()
