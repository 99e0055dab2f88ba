"""Accessibility of every page, light and dark, wide and narrow: no serious finding of axe-core, nothing too wide."""

import re
from pathlib import Path

import axe_playwright_python
import pytest
from made_run import made_run, mixed_csv
from page_steps import drawn
from seeding import finished_sweep

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = """() => axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations
  .filter((rule) => ['serious', 'critical'].includes(rule.impact) || rule.id === 'heading-order')
  .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 150)} ${node.failureSummary}`)))"""
STICKS_OUT = """() => [...document.querySelectorAll('[data-testid="stMarkdownContainer"] table')]
  .filter((table) => table.getBoundingClientRect().right > table.closest('[data-testid="stMarkdown"]').getBoundingClientRect().right + 1)
  .map((table) => `sticks out: ${table.innerText}`)"""
PAGES = {
    "": ("Data", "Predict"),
    "new_run": ("New run", "Launch"),
    "live": ("Live", "run"),
    "leaderboard": ("Leaderboard", "Download the leaderboard (CSV)"),
    "compare": ("Compare", "against rank"),
    "adapters": ("Adapters", "Download the adapter"),
    "try_it": ("Try it", "Predictions"),
    "guide": ("Guide", "How to choose"),
}
"""By address, the page's name and a text that it has once it is drawn."""
ENDED = """() => Promise.race([new Promise((late) => setTimeout(late, 2000)), Promise.all(document.getAnimations()
  .filter((moving) => moving.effect.getComputedTiming().endTime < Infinity).map((moving) => moving.finished.catch(() => null)))])"""
"""Waits for fade-in animations; endless spinners are left out."""
LOOKS = (("light", 1440), ("dark", 420))
"""The checked views of each page; the top bar is equal on all and checked once in the dark."""


def settled(page):
    """Waits for elements that Streamlit loads when they are first shown, and for fade-in animations."""
    drawn(page)
    page.wait_for_function("() => !document.querySelector('[data-testid=\"stSkeleton\"]')")
    page.evaluate(ENDED)


def test_every_page_is_accessible_makes_no_bad_request_and_the_keyboard_goes_from_upload_to_download(
    serve, page, tmp_path
):
    store = RunStore(tmp_path)
    finished_sweep(store)
    made_run(store)
    complaints, asked = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: complaints.append(f"{page.url}: {message.text}") if message.type == "error" else None
    )
    address, found = serve(), {}
    for name, (title, text) in PAGES.items():
        page.set_viewport_size({"width": LOOKS[0][1], "height": 1200})
        page.get_by_role("link", name=title, exact=True).click() if name else page.goto(f"{address}/?target=verdict")
        page.get_by_test_id("stMain").get_by_text(text).first.wait_for()
        for other, _ in PAGES.values():
            page.get_by_role("link", name=other, exact=True).wait_for()
        page.evaluate(AXE)
        for scheme, width in LOOKS if name else (*LOOKS, ("dark", 1440)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 1200})
            page.wait_for_function(
                f"() => getComputedStyle(document.querySelector('.stApp')).colorScheme == '{scheme}'"
            )
            settled(page)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            if faults := [*page.evaluate(RULES), *page.evaluate(STICKS_OUT)]:
                found[f"{name} {scheme} {width}"] = faults
    assert not found
    assert not complaints
    assert [url for url in asked if url.startswith(address)]
    assert [
        url for url in asked if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
    ] == []
    page.set_viewport_size({"width": LOOKS[0][1], "height": 1200})
    from_upload_to_download_by_keyboard(page, address)


REACHED = """() => {
  const at = document.activeElement
  return at.matches('a, button, summary, input, [role]') ? at.getAttribute('aria-label') || at.innerText || at.title : ''
}"""
"""The name of the focused element; the page itself, which scrolls, has none."""
MOST_TABS = 150


def tab_to(page, name):
    """Presses Tab until the element with this name, without icons, has the focus and would get Enter."""
    reached = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(REACHED)[:200])
        if re.search(rf"^\s*{name}\s*$", reached[-1], re.MULTILINE):
            return
    raise AssertionError(f"The keyboard reaches {list(dict.fromkeys(reached))}, and not {name!r}.")


def enter(page, name):
    drawn(page)
    tab_to(page, name)
    page.keyboard.press("Enter")


def from_upload_to_download_by_keyboard(page, address):
    page.goto(address)
    page.get_by_text("Add other tables").first.wait_for()
    enter(page, "Add other tables")
    page.get_by_test_id("stFileUploader").get_by_role("button").first.wait_for()
    with page.expect_file_chooser() as chosen:
        enter(page, "Upload")
    content = mixed_csv(120, seed=3).replace(b"verdict", b"target")
    chosen.value.set_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": content})
    page.wait_for_url("**target=target")
    enter(page, "Next: choose a model")
    page.wait_for_url("**/new_run**")
    page.get_by_role("button", name="Launch").first.wait_for()
    enter(page, r"Launch \d+ runs")
    page.wait_for_url("**/live**")
    page.get_by_role("button", name="Cancel all").first.wait_for()
    enter(page, "Cancel all")
    enter(page, "Adapters")
    page.get_by_role("button", name="Download the adapter").wait_for()
    with page.expect_download() as download:
        enter(page, "Download the adapter")
    assert download.value.path().stat().st_size > 10_000
