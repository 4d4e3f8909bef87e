"""The status tab shows what the service's own metrics say."""

import re

from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from tests.support.browser import Reader
from tests.support.service import RunningService


def searches(running_service: RunningService) -> int:
    families = text_string_to_metric_families(running_service.http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    counted = [s.value for s in samples if s.name == "qasir_search_seconds_count"]
    return int(sum(counted))


def test_numbers_follow_the_searches(reader: Reader, running_service: RunningService) -> None:
    running_service.ingested()
    running_service.search()
    page = reader.visit("/?tab=status")
    latency = page.locator("[data-part=latency]")
    row = latency.locator("tr[data-grid='2']")
    expect(row.locator("[data-value=count]")).to_have_text(str(searches(running_service)))
    expect(page.locator("#status .caption")).to_contain_text("since the service started")
    for word in ("p50", "p95"):
        expect(row.locator(f"[data-value={word}]")).to_have_text(re.compile(r"^[\d.]+ m?s$"))
    for _ in range(7):
        running_service.search("a blue house")
    # Now the window holds these seven, and nothing from before the tab was opened.
    expect(row.locator("[data-value=count]")).to_have_text("7")
    expect(page.locator("#status .caption")).to_contain_text("last")
    page.get_by_label("Window").select_option("0")
    expect(row.locator("[data-value=count]")).to_have_text(str(searches(running_service)))


def test_recall_stands_beside_the_latency(reader: Reader, running_service: RunningService) -> None:
    running_service.search()
    page = reader.visit("/?tab=status")
    told = page.locator("[data-part=latency] tr[data-grid='2'] [data-value=recall]")
    page_text = running_service.http.get("/metrics").text
    line = r'^qasir_eval_recall\{grid_size="2",k="5",variant="zero-shot"\} ([\d.e-]+)$'
    (share,) = re.findall(line, page_text, re.MULTILINE)
    expect(told).to_have_text(f"{round(100 * float(share))} %")


def test_stages_jobs_and_index_are_those_of_the_metrics(
    reader: Reader, running_service: RunningService
) -> None:
    running_service.ingested()
    running_service.search()
    page = reader.visit("/?tab=status")
    for part in ("search-stages", "ingest-stages"):
        row = page.locator(f"[data-part={part}] tr[data-grid='2']")
        expect(row).to_be_visible()
        shares = row.locator(".stack span").evaluate_all(
            "all => all.map((one) => Number(one.style.getPropertyValue('--share')))"
        )
        assert abs(sum(shares) - 1) < 0.01
    samples = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(running_service.http.get("/metrics").text)
        for s in family.samples
    }
    for state in ("ready", "failed"):
        told = page.locator(f"[data-part=jobs] [data-name={state}] strong")
        expect(told).to_have_text(str(int(samples["qasir_jobs", state])))
    told = page.locator("[data-part=index] [data-name=videos] strong")
    expect(told).to_have_text(str(int(samples["qasir_index_videos",])))
