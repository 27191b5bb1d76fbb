"""Reports in a real browser: legible on a phone and a desk, by day and night, and on paper."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from browser.kinds import KINDS, plain_audit, plain_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
LOOK = (Path(__file__).parent / "look.js").read_text()
WIDTHS = (390, 1280)
PAPER = 688
"""Pixels between the margins of an A4 page."""
PATIENCE = 180_000
"""Milliseconds that a machine may take which has other work."""
MISSING = "no browser; install one (Debian: apt install chromium) to open the reports in it"
pytestmark = pytest.mark.skipif(FOUND is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = playwright.chromium.launch(executable_path=FOUND, args=options, timeout=PATIENCE)
        yield opened
        opened.close()


def events(page: Any, own: str) -> list[str]:
    """What a page does that no report may do; it grows while the page is open."""
    page.set_default_timeout(PATIENCE)
    seen: list[str] = []
    page.on("console", lambda m: seen.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (seen.append("a dialog"), dialog.dismiss()))
    inside = (own, "data:")
    page.on("request", lambda r: r.url.startswith(inside) or seen.append(f"request: {r.url}"))
    return seen


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("kind", KINDS)
def test_reports_read_well_everywhere(browser: Any, kind: str, tmp_path: Path) -> None:
    make, texts = KINDS[kind]
    path = tmp_path / "report.html"
    path.write_text(make(), encoding="utf-8")
    page = browser.new_page()
    seen = events(page, path.as_uri())
    page.goto(path.as_uri())
    wrong = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for fold in (False, True):
                page.evaluate(
                    "open => document.querySelectorAll('details').forEach(d => d.open = open)", fold
                )
                wrong[f"{scheme}, {width} pixels, {'un' * fold}folded"] = page.evaluate(LOOK)
            picture(page, f"{kind} {scheme} {width}")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": PAPER, "height": 900})
    wrong["on paper"] = page.evaluate(LOOK)
    picture(page, f"{kind} paper")
    page.close()
    assert {where: found for where, found in wrong.items() if found} == {}
    assert seen == []

    plain = browser.new_page(java_script_enabled=False)
    seen = events(plain, path.as_uri())
    plain.goto(path.as_uri())
    text = flat(plain.locator("body").text_content())
    assert [t for t in texts if flat(t) not in text] == []
    assert plain.locator("svg, img, td").count() > 0
    assert plain.locator("script").count() == 0
    assert seen == []
    plain.close()


def picture(page: Any, name: str) -> None:
    """Keep a picture of the page where the environment names a folder for them."""
    folder = os.environ.get("FAIRSPARSE_PICTURES")
    if folder:
        page.screenshot(path=f"{folder}/{name}.png".replace(" ", "-"), full_page=True)


AUDIT = ["Accuracy", "Largest loss", "Not told", "points"]
FIRST = {
    "audit": (
        partial(plain_audit, "small"),
        ["One group lost more than the others: old, ", *AUDIT],
    ),
    "audit of several": (partial(plain_audit, "small", "tiny"), ["Candidates, those first"]),
    "run": (plain_run, ["classes lost more than the others, most", *AUDIT, "Sparsity"]),
    "dense run": (KINDS["dense run"][0], ["Accuracy", "Sparsity"]),
    "sweep": (KINDS["sweep"][0], ["methods compared"]),
}
"""Of each kind: what makes its page, and what its first screen says."""


@pytest.mark.parametrize("kind", FIRST)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_screen_says_what_matters(
    browser: Any, kind: str, width: int, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(FIRST[kind][0](), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(path.as_uri())
    words = page.evaluate(
        """() => [...document.querySelectorAll("h1, p, dt, dd, caption")].filter(
            e => e.getBoundingClientRect().bottom <= innerHeight).map(e => e.textContent)"""
    )
    page.close()
    first = flat(" ".join(words)).lower()
    assert [word for word in FIRST[kind][1] if word.lower() not in first] == []
    for jargon in ("excess", "floor", "max-t", "bootstrap"):
        assert jargon not in first
