"""Reports: what they say, what they escape, and how a browser shows them."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

from opkit import report
from opkit.case import load_case
from opkit.datasets.read import DataFile
from opkit.errors import BundleError, OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.generate import generate
from opkit.report import regions
from opkit.report.content import number
from opkit.surrogate.bundle import files as bundle
from opkit.train import train

EVIL = "<script>document.title='hacked'</script><img src=x onerror=alert(1)>$\\foo$"


MAIN = "from opkit.cli import main; main()"


class Reader(html.parser.HTMLParser):
    """Collects text, tags, and the attributes that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "srcset", "data", "action"):
                self.addresses.append(value or "")
            assert not key.startswith("on"), f"a handler: {key}"
        if tag == "img":
            self.alts.append(dict(attrs).get("alt") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(darcy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.report(darcy_run, tmp_path_factory.mktemp("page") / "darcy.html")


@pytest.fixture(scope="module")
def rollout_page(eddies_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.report(eddies_run, tmp_path_factory.mktemp("page") / "eddies.html")


def test_the_page_says_what_was_measured(page: Path, darcy_run: Path) -> None:
    reader = Reader(page.read_text())
    for row in evaluate(darcy_run).rows:
        assert number(row.relative_l2) in reader.text
    with DataFile(darcy_run.parent / "data.h5") as file:
        assert file.content_hash() in reader.text
        assert str(file.header.case["equation"]) in reader.text
    config = bundle.read_config(darcy_run)
    assert config.weights_sha256 in reader.text
    assert "The errors stored in the bundle are reproduced exactly." in reader.text
    # the first section: on 17 x 17 nodes a solve takes less than a network
    assert reader.text.index("Does it pay?") < reader.text.index("Case")
    assert "Does not pay: solve it" in reader.text
    assert "The exact answer from the prediction" in reader.text
    assert re.search(
        r"Generation took .*, training .*\. In place of full solves", reader.text
    )
    assert reader.tags.count("table") == reader.tags.count("caption") > 8
    assert reader.tags.count("img") == 1 + 2 + 4 * 4
    assert all(len(alt) > 20 for alt in reader.alts)


def test_the_page_needs_nothing_else_and_runs_nothing(page: Path) -> None:
    reader = Reader(page.read_text())
    assert "script" not in reader.tags and "link" not in reader.tags
    assert reader.addresses
    assert all(a.startswith(("data:image/", "#")) for a in reader.addresses)


def test_the_command_in_the_page_makes_the_same_data(
    page: Path, darcy_run: Path, tmp_path: Path
) -> None:
    text = Reader(page.read_text()).text
    (line,) = [x for x in text.splitlines() if x.startswith("opkit generate")]
    words = shlex.split(line)
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    seed = int(words[words.index("--seed") + 1])
    case = load_case(words[3], tuple(overrides))
    generate(case, tmp_path / "again.h5", seed=seed)
    with (
        DataFile(tmp_path / "again.h5") as again,
        DataFile(darcy_run.parent / "data.h5") as first,
    ):
        assert again.content_hash() == first.content_hash()


@pytest.mark.slow
def test_rollouts_have_steps_spectra_and_invariants(rollout_page: Path) -> None:
    reader = Reader(rollout_page.read_text())
    assert "Error per step" in reader.text
    assert "Spectrum of potential_vorticity" in reader.text
    assert "Mean square of potential_vorticity" in reader.text


GEOMETRIES = {
    "darcy-mesh": ("spon", ["model.hidden_channels=8", "model.n_layers=1"]),
    "elliptic-boundary": (
        "beno",
        ["model.hidden_channels=8", "model.n_layers=1", "model.levels=3"],
    ),
    "burgers": ("fno", ["model.n_modes=[8]", "model.hidden_channels=8", "subsample=1"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GEOMETRIES)
def test_other_geometries_are_drawn(name: str, tmp_path: Path) -> None:
    if name == "darcy-mesh":
        pytest.importorskip("dolfinx_solver")
    operator, settings = GEOMETRIES[name]
    size = "32" if name == "burgers" else "8"
    samples = ("samples.train=16", "samples.validation=4", "samples.test=6")
    generate(load_case(name, (f"resolution={size}", *samples)), tmp_path / "data.h5")
    train(
        tmp_path / "data.h5",
        tmp_path / "run",
        operator=operator,
        overrides=[*settings, "training.epochs=2"],
    )
    page = report.report(tmp_path / "run", tmp_path / "report.html")
    reader = Reader(page.read_text())
    panels = {"darcy-mesh": 4, "elliptic-boundary": 5, "burgers": 4}[name]
    assert reader.tags.count("img") == 1 + 2 + 4 * panels
    assert "Limits of use" in reader.text


def tampered(run: Path, folder: Path) -> Path:
    """Copy a run with its data, with markup in every text that is not a name."""
    shutil.copytree(run.parent, folder)
    config = bundle.read_config(folder / "run")
    case = {**config.case, "title": EVIL, "equation": EVIL, "references": [EVIL]}
    provenance = config.provenance.model_copy(
        update={"command": EVIL, "environment": {EVIL: EVIL}}
    )
    changed = config.model_copy(
        update={
            "case": case,
            "provenance": provenance,
            "flags": (EVIL,),
        }
    )
    bundle.rewrite_config(folder / "run" / "bundle", changed)
    return folder / "run"


@pytest.fixture(scope="module")
def evil_page(darcy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tampered(darcy_run, tmp_path_factory.mktemp("evil") / "copy")
    out = run.parent / "evil.html"
    return report.report(run, out, run.parent / "data.h5", solver=False)


def test_markup_in_a_bundle_stays_text(evil_page: Path) -> None:
    reader = Reader(evil_page.read_text())
    assert "script" not in reader.tags
    assert reader.text.count(EVIL) >= 4
    assert "records no command of opkit" in reader.text
    assert str(evil_page.parent) not in evil_page.read_text()
    assert all(a.startswith(("data:image/", "#")) for a in reader.addresses)


def test_regions_are_quartiles_of_features() -> None:
    train = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    here = regions.features(train, train)
    assert here["contrast"].tolist() == [1, 1, 1]
    # <x²> of the three is 1, 4, 16; their mean is 7
    np.testing.assert_allclose(here["energy"], np.array([1, 4, 16]) / 7)
    wave = torch.cos(3 * torch.arange(16) * 2 * torch.pi / 16).expand(1, 1, 16, 16)
    waves = regions.features(wave, torch.cat([wave, -wave]))
    assert "contrast" not in waves
    assert waves["mean wavenumber"] == pytest.approx([3])
    line = wave.flatten(2)  # on a mesh neighbours in memory are none in space
    assert "mean wavenumber" not in regions.features(line, line, spectral=False)
    # the two training fields are w and -w: mean 0, spread rms(w), so w is 1 away
    assert waves["distance from the training mean"] == pytest.approx([1])


def test_bad_input_is_one_error_and_leaves_nothing(
    darcy_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(OpkitInputError, match=r"\.html"):
        report.report(darcy_run, tmp_path / "report.pdf")
    with pytest.raises(BundleError, match="no bundle"):
        report.report(tmp_path / "nothing", tmp_path / "report.html")
    with pytest.raises(OpkitInputError, match=r"gone\.h5"):
        report.report(darcy_run, tmp_path / "report.html", tmp_path / "gone.h5")
    assert not list(tmp_path.iterdir())


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium: apt-get install chromium")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["page", "rollout_page", "evil_page"])
def test_a_browser_shows_it_on_a_phone_without_scripts_or_requests(
    which: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    path = request.getfixturevalue(which)
    with playwright.sync_playwright() as starter:
        arguments = {"executable_path": browser(), "args": ["--no-sandbox"]}
        with starter.chromium.launch(**arguments) as chromium:
            size = {"width": 360, "height": 780}
            view = chromium.new_page(viewport=size, color_scheme=scheme)
            messages: list[str] = []
            requests: list[str] = []
            view.on("console", lambda message: messages.append(message.text))
            view.on("pageerror", lambda error: messages.append(str(error)))
            view.on("request", lambda r: requests.append(r.url))
            view.goto(path.as_uri(), wait_until="load")
            assert not messages
            outside = [u for u in requests if not u.startswith("data:image/")]
            assert outside == [path.as_uri()]
            assert view.title() != "hacked"
            assert view.locator("script").count() == 0
            width = "document.documentElement.scrollWidth"
            assert view.evaluate(width) <= 360
            for kind in ("table", "img", "section", "pre"):
                elements = view.locator(kind).all()
                assert elements
                assert all(item.is_visible() for item in elements)
            drawn = "[...document.images].map(i => i.complete && i.naturalWidth > 50)"
            assert all(view.evaluate(drawn))
            paper = "getComputedStyle(document.body).backgroundColor"
            light = int(re.findall(r"\d+", view.evaluate(paper))[0]) > 128
            assert light == (scheme == "light")
            if which == "evil_page":
                assert EVIL in view.inner_text("main")


@pytest.mark.slow
def test_the_verb_writes_the_page(darcy_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    words = [sys.executable, "-c", MAIN, "report", str(darcy_run), "-o", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.dumps(str(out))[1:-1] in done.stdout
    assert out.stat().st_size > 50_000
