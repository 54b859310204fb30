"""The page in a real browser: no errors, sorting, linked zoom, phone, dark mode, paper. Screenshots lie in the test's
temporary folder."""

import base64
from pathlib import Path

import pytest

from foldlight.report.page import write_report

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait


@pytest.fixture(scope="module")
def pages(study, one, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {
        "study": write_report(study, folder / "study.html", pixel_nm=12.5),
        "one": write_report(one, folder / "one.html"),
    }


def load(browser, page: Path, width: int = 1300, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(lambda each: each.execute_script("return document.documentElement.dataset.ready"))
    settled(browser)


def settled(browser) -> None:
    """After the next frame was drawn."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));")


def screenshot(browser, path: Path) -> bytes:
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(taken["data"]))
    return path.read_bytes()


def views(browser) -> list[str]:
    """Zoom and centre of each image."""
    return browser.execute_script("return [...document.querySelectorAll('.tile canvas')].map(c => c.dataset.view)")


def column(browser, place: int) -> list[str]:
    rows = "[...document.querySelectorAll('#results tbody tr:not([hidden])')]"
    return browser.execute_script(f"return {rows}.map(row => row.cells[{place}].dataset.value)")


@pytest.mark.parametrize("name", ["study", "one"])
def test_it_loads_without_errors_and_everything_has_a_description(name, browser, pages, tmp_path):
    load(browser, pages[name])
    assert screenshot(browser, tmp_path / f"{name}.png")
    assert [line for line in browser.get_log("browser") if line["level"] in {"SEVERE", "WARNING"}] == []
    seen = browser.find_elements(By.CSS_SELECTOR, ".tile canvas, .plot, .bar, main img")
    assert len(seen) > 10
    assert all(each.get_attribute("aria-label") or each.get_attribute("alt") for each in seen)
    drawn = "return [...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"
    assert browser.execute_script(drawn)


def test_headings_sort_by_click_and_by_key(browser, pages):
    load(browser, pages["study"])
    heads = browser.find_elements(By.CSS_SELECTOR, "#results thead button")
    place = next(n for n, head in enumerate(heads) if head.text.split(" ↕")[0].strip() == "object error")
    before = column(browser, place)
    heads[place].click()
    falling = column(browser, place)
    assert falling == sorted(falling, key=float, reverse=True) != before
    heads[place].send_keys(Keys.ENTER)
    assert column(browser, place) == falling[::-1]
    assert heads[place].find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    heads[0].click()
    assert column(browser, 0) == sorted(column(browser, 0), key=float)


def test_choosers_hide_rows_and_change_images_and_plots(browser, pages):
    load(browser, pages["study"])
    assert set(column(browser, 2)) == {"test"}  # at first, what no network was trained on
    Select(browser.find_element(By.CSS_SELECTOR, "[data-filter=dose]")).select_by_value("1000")
    assert set(column(browser, 0)) == {"1000"}
    label = "return document.querySelector('.tile canvas').ariaLabel"
    assert "10,000 photons per frame, dense, test half" in browser.execute_script(label)
    Select(browser.find_element(By.CSS_SELECTOR, "[data-choose=view]")).select_by_value("sparse")
    WebDriverWait(browser, 20).until(lambda each: "sparse" in each.execute_script(label))
    title = "return document.querySelector('[data-plots=dose] .plot').ariaLabel"
    Select(browser.find_element(By.CSS_SELECTOR, "[data-choose=measure]")).select_by_value("phase_ssim")
    assert browser.execute_script(title).startswith("phase SSIM against photons per frame")


def test_zooming_one_image_zooms_all(browser, pages):
    load(browser, pages["study"])
    assert set(views(browser)) == {"1.0000 0.5000 0.5000"}
    pixels = "return [...document.querySelectorAll('.tile canvas')].map(canvas => canvas.toDataURL())"
    whole = browser.execute_script(pixels)
    canvas = browser.find_element(By.CSS_SELECTOR, ".tile canvas")
    canvas.send_keys("++")
    settled(browser)
    assert set(views(browser)) == {"2.2500 0.5000 0.5000"}
    assert all(before != after for before, after in zip(whole, browser.execute_script(pixels), strict=True))
    canvas.send_keys(Keys.ARROW_RIGHT)
    settled(browser)
    assert len(set(views(browser))) == 1
    assert float(views(browser)[0].split()[1]) > 0.5
    browser.find_element(By.CSS_SELECTOR, "[data-zoom=reset]").click()
    settled(browser)
    assert browser.execute_script(pixels) == whole
    event = "new WheelEvent('wheel', {deltaY: -300, ctrlKey: true, bubbles: true, cancelable: true})"
    browser.execute_script(f"arguments[0].dispatchEvent({event})", canvas)
    settled(browser)
    assert len(set(views(browser))) == 1
    assert float(views(browser)[0].split()[0]) == pytest.approx(2.7183, abs=1e-3)


def test_a_page_scrolls_over_images_that_are_not_in_use(browser, pages):
    load(browser, pages["one"])
    event = "new WheelEvent('wheel', {deltaY: -300, bubbles: true, cancelable: true})"
    canvas = browser.find_element(By.CSS_SELECTOR, ".tile canvas")
    assert browser.execute_script(f"return arguments[0].dispatchEvent({event})", canvas)  # nobody prevented it
    assert views(browser)[0].startswith("1.0000")


@pytest.mark.parametrize("name", ["study", "one"])
def test_a_phone_scrolls_down_only(name, browser, pages, tmp_path):
    load(browser, pages[name], width=390)
    screenshot(browser, tmp_path / f"{name}_phone.png")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_dark_mode_is_dark(browser, pages, tmp_path):
    paper = "return getComputedStyle(document.body).backgroundColor"
    load(browser, pages["one"], scheme="dark")
    dark = screenshot(browser, tmp_path / "dark.png"), browser.execute_script(paper)
    load(browser, pages["one"])
    light = screenshot(browser, tmp_path / "light.png"), browser.execute_script(paper)
    assert dark[0] != light[0]
    assert light[1] == "rgb(255, 255, 255)"
    assert max(map(int, dark[1].strip("rgb()").split(","))) < 64


def test_paper_shows_everything_in_light_colours(browser, pages, tmp_path):
    load(browser, pages["study"], scheme="dark")
    browser.find_element(By.CSS_SELECTOR, ".tile canvas").send_keys("++")
    browser.execute_script(
        "window.addEventListener('beforeprint', () => { window.printed = {"
        "closed: document.querySelectorAll('details:not([open])').length,"
        "zoomed: [...document.querySelectorAll('.tile canvas')].some(c => !c.dataset.view.startsWith('1.0000'))}; });"
    )
    made = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    (tmp_path / "study.pdf").write_bytes(made)
    assert made.startswith(b"%PDF")
    assert browser.execute_script("return window.printed") == {"closed": 0, "zoomed": False}
    assert browser.find_elements(By.CSS_SELECTOR, "details:not([open])")  # and afterwards it is as before
