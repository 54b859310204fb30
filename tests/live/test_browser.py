"""The live page in a real browser: pictures change while a scan is written, counts add up, and the last image is kept.

Screenshots lie in the test's temporary folder."""

import base64
import threading
from contextlib import ExitStack

import pytest

from foldlight.live.run import LiveRun
from foldlight.live.server import serve
from foldlight.live.settings import LiveSettings, PlaySettings
from foldlight.live.simulator import play

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.support.ui import WebDriverWait

PIXELS = """
const canvas = document.createElement('canvas');
const image = document.getElementById(arguments[0]);
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
canvas.getContext('2d').drawImage(image, 0, 0);
return canvas.toDataURL();
"""


def until(browser, script: str, *words) -> object:
    return WebDriverWait(browser, 60).until(lambda each: each.execute_script(script, *words))


def text(browser, name: str) -> str:
    return browser.execute_script("return document.getElementById(arguments[0]).textContent", name)


def number(browser, name: str) -> int:
    return int(text(browser, name).split(" ")[0].replace(",", ""))


def screenshot(browser, path) -> bytes:
    path.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"]))
    return path.read_bytes()


def complaints(browser) -> list:
    return [line for line in browser.get_log("browser") if line["level"] in {"SEVERE", "WARNING"}]


def test_the_page_follows_a_scan_to_its_end_and_keeps_the_image(browser, scan, model, tmp_path):
    run = LiveRun(tmp_path / "scan.h5", model, LiveSettings(interval_s=0.05))
    writer = threading.Thread(target=play, args=(tmp_path / "scan.h5", scan, PlaySettings(rate=40, planned=False)))
    follower = threading.Thread(target=run.run)
    with ExitStack() as stack:
        address = stack.enter_context(serve(run.board))
        browser.get(address)
        until(browser, "return document.documentElement.dataset.ready")
        assert "waiting" in text(browser, "state")
        assert not browser.execute_script("return document.getElementById('pictures').checkVisibility()")
        follower.start()
        writer.start()
        first = until(browser, "return document.documentElement.dataset.version")
        early = browser.execute_script(PIXELS, "phase"), number(browser, "reconstructed")
        until(browser, "return document.documentElement.dataset.version !== arguments[0]", first)
        for thread in (writer, follower):
            thread.join()
        until(browser, "return document.getElementById('state').textContent === 'the scan is complete'")
        until(
            browser, f"return document.documentElement.dataset.version === '{run.board.plain()['picture']['version']}'"
        )
        counts = {name: number(browser, name) for name in ("received", "reconstructed", "waiting", "dropped")}
        assert counts == {"received": len(scan), "reconstructed": len(scan), "waiting": 0, "dropped": 0}
        late = browser.execute_script(PIXELS, "phase")
        assert late != early[0]
        assert early[1] < len(scan)
        assert "ms" in text(browser, "median") or " s" in text(browser, "median")
        alt = browser.execute_script("return [...document.querySelectorAll('img')].map(each => each.alt)")
        assert [each.split(" of ")[0] for each in alt] == ["amplitude", "phase"]
        assert all(f"from {len(scan)} frames" in each for each in alt)
        assert complaints(browser) == []
        assert screenshot(browser, tmp_path / "live.png")
    until(browser, "return document.getElementById('state').textContent.includes('does not answer')")
    assert browser.execute_script(PIXELS, "phase") == late  # whoever serves it is gone, the image is not


def test_phone_and_dark(browser, scan, model, tmp_path):
    play(tmp_path / "a_scan_of_a_long_name_that_has_nowhere_to_break_at_all.h5", scan, PlaySettings(rate=1e5))
    run = LiveRun(tmp_path / "a_scan_of_a_long_name_that_has_nowhere_to_break_at_all.h5", model, LiveSettings())
    run.run()
    browser.get_log("browser")
    with serve(run.board) as address:
        papers = []
        for scheme in ("dark", "light"):
            size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
            browser.get(address)
            until(browser, "return document.documentElement.dataset.version")
            screenshot(browser, tmp_path / f"{scheme}.png")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
            papers.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert max(map(int, papers[0].strip("rgb()").split(","))) < 64
        assert papers[1] == "rgb(255, 255, 255)"
        assert complaints(browser) == []
