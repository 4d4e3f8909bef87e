"""The study tab shows every plot of the results folder, or says where they come from."""

from pathlib import Path

from playwright.sync_api import expect

from service.http.page import PLOTS
from tests.support.browser import Reader


def test_every_plot_is_drawn(reader: Reader) -> None:
    page = reader.visit("/?tab=study")
    plots = page.locator("#study img")
    expect(plots).to_have_count(len(list(PLOTS.glob("*.svg"))))
    names = [Path(url).stem for url in plots.evaluate_all("all => all.map((one) => one.src)")]
    assert names[0] == "cost"
    assert set(names) == {path.stem for path in PLOTS.glob("*.svg")}
    for number in range(len(names)):
        plots.nth(number).scroll_into_view_if_needed()
        expect(plots.nth(number)).to_have_js_property("complete", value=True)
    assert all(plots.evaluate_all("all => all.map((one) => one.naturalWidth > 100)"))
    # Each has a question of its own over it, not the name of its file.
    questions = page.locator("#study figcaption").all_inner_texts()
    assert not set(questions) & set(names)


def test_without_plots_the_tab_says_how_to_make_them(reader: Reader) -> None:
    reader.page.route("**/study", lambda route: route.fulfill(json={"plots": []}))
    page = reader.visit("/?tab=study")
    expect(page.locator("#study .plots")).to_contain_text("make study")
