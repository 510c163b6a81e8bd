"""The page shows what Python says, in a browser too."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("aiohttp")

import urllib.request

from fixtures.http import ask, running

import opkit
from opkit.serve.server import Server

EVIL = "<script>document.title = 'hacked'</script>"


@pytest.fixture(scope="module")
def url(darcy) -> Iterator[str]:
    surrogate = darcy.load()
    surrogate.config.case["title"] = EVIL
    with running(Server(surrogate, page=True)) as address:
        yield address


def test_stored_and_drawn_inputs_are_predicted_and_solved(url: str, darcy) -> None:
    status, setup = ask(f"{url}/page/setup")
    assert status == 200
    assert setup["stored"] == 12 and setup["drawn"] and setup["solver"] is None
    assert setup["fields"] == ["permeability"] and setup["sliders"] == []
    first = setup["inputs"]["permeability"]
    np.testing.assert_array_equal(first, darcy.permeability[0])
    third = ask(f"{url}/page/inputs", {"stored": 3})[1]["inputs"]["permeability"]
    np.testing.assert_array_equal(third, darcy.permeability[3])
    drawn = [ask(f"{url}/page/inputs", {"seed": k})[1]["inputs"] for k in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    chosen = {"inputs": {"permeability": first}}
    reply = ask(f"{url}/page/predict", chosen)[1]
    surrogate = darcy.load()
    a = darcy.permeability[0].astype(np.float64)
    (picture,) = reply["outputs"]
    assert (picture["kind"], picture["rows"], picture["columns"]) == ("image", 17, 17)
    # five digits are sent
    np.testing.assert_allclose(picture["values"], surrogate(a).ravel(), rtol=1e-4)
    checked = surrogate(a, check=True)
    assert reply["verdict"]["error_bound"] == checked.error_bound[0]
    assert reply["places"] == {"kind": "grid", "extent": [1, 1], "axes": ["y", "x"]}
    solved = ask(f"{url}/page/solve", chosen)[1]
    true = darcy.pressure[0].ravel()
    np.testing.assert_allclose(solved["outputs"][0]["values"], true, atol=1e-6)
    error = np.linalg.norm(surrogate(a).ravel() - true) / np.linalg.norm(true)
    # the domain's norm halves the weight of the boundary, where p is 0
    assert solved["relative_l2"] == pytest.approx(error, rel=0.05)
    for path, message, words in [
        ("inputs", {"stored": 400}, "12 stored samples"),
        ("inputs", {"seed": -1}, "seed"),
        ("predict", {"inputs": {"permeability": [first, first]}}, "one sample"),
        ("predict", {"inputs": {"permeability": [[1.0], [1.0, 2.0]]}}, "ragged"),
    ]:
        status, reply = ask(f"{url}/page/{path}", message)
        assert status == 400 and words in reply["error"]["message"]


def test_markup_in_a_bundle_stays_text_and_the_script_is_all_that_loads(url) -> None:
    with urllib.request.urlopen(url, timeout=20) as reply:
        html, policy = reply.read().decode(), reply.headers["Content-Security-Policy"]
    assert html.count("<script") == 1 and "&lt;script&gt;" in html
    assert "default-src 'none'; script-src 'self'" in policy


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium: apt-get install chromium")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_asks_and_compares(url: str, width: int) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as starter:
        arguments = {"executable_path": browser(), "args": ["--no-sandbox"]}
        with starter.chromium.launch(**arguments) as chromium:
            view = chromium.new_page(viewport={"width": width, "height": 844})
            messages: list[str] = []
            requests: list[str] = []
            view.on("console", lambda message: messages.append(message.text))
            view.on("pageerror", lambda error: messages.append(str(error)))
            view.on("request", lambda r: requests.append(r.url))
            view.goto(url)
            view.wait_for_selector("#outputs canvas")
            view.wait_for_selector("#answer[aria-busy=false]")
            bound = view.inner_text("#verdict dd")
            assert bound.endswith("%") and "fault" not in messages
            view.click("#solve")
            view.wait_for_selector("#solved canvas")
            assert view.locator("#solved canvas").count() == 2
            assert view.inner_text("#solved-facts dd").endswith("%")
            view.select_option("#stored", "5")
            view.wait_for_selector("#answer[data-count='2']")
            assert view.locator("#solved canvas").count() == 0
            view.click("#draw")
            view.wait_for_selector("#answer[data-count='3']")
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            assert not messages and view.title() != "hacked"
            assert all(r.startswith((url, "data:")) for r in requests)
            view.emulate_media(color_scheme="dark")
            paper = "getComputedStyle(document.body).backgroundColor"
            assert view.evaluate(paper) == "rgb(22, 24, 29)"


@pytest.mark.slow
@pytest.mark.fem
def test_sliders_move_bumps(bumps_run) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with (
        running(Server(opkit.load(bumps_run), page=True)) as url,
        playwright.sync_playwright() as starter,
    ):
        arguments = {"executable_path": browser(), "args": ["--no-sandbox"]}
        with starter.chromium.launch(**arguments) as chromium:
            view = chromium.new_page(viewport={"width": 390, "height": 844})
            view.goto(url)
            view.wait_for_selector("#answer[data-count='1']")
            assert view.locator("#sliders input").count() == 10
            slider = view.locator("#sliders input").last
            slider.fill("1000")
            view.wait_for_selector("#answer[data-count='2']")
            assert view.locator("#sliders output").last.inner_text() == "400"
            asked = view.evaluate("inputs.reynolds")
            assert asked == 400 and view.evaluate("where.kind") == "moved"
