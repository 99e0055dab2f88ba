"""axe-core over every page, light and dark, wide and narrow: what it calls serious or critical keeps people out."""

from pathlib import Path

import axe_playwright_python
import pytest
from made_run import made_run
from page_steps import drawn
from seeding import finished_sweep

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = """() => axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations
  .filter((rule) => ['serious', 'critical'].includes(rule.impact))
  .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 150)} ${node.failureSummary}`)))"""
PAGES = {
    "": "Predict",
    "new_run": "Launch",
    "live": "run",
    "leaderboard": "Download the leaderboard (CSV)",
    "compare": "Score against cost",
    "adapters": "Download the adapter",
    "try_it": "Predict this row",
    "guide": "One layer",
}
"""By address, a text that stands on the page once it is drawn."""
LOOKS = (("light", 1440), ("dark", 1440), ("dark", 420))


def settled(page):
    """Waits for the elements that Streamlit loads when they are first shown, and for what fades in."""
    drawn(page)
    page.wait_for_function("() => !document.querySelector('[data-testid=\"stSkeleton\"]')")
    page.evaluate("() => Promise.all(document.getAnimations().map((moving) => moving.finished.catch(() => null)))")


def test_no_page_keeps_anybody_out(serve, page, tmp_path):
    store = RunStore(tmp_path)
    finished_sweep(store)
    made_run(store)
    address, found = serve(), {}
    for name, text in PAGES.items():
        page.set_viewport_size({"width": LOOKS[0][1], "height": 1200})
        page.goto(f"{address}/{name}?target=verdict")
        page.get_by_test_id("stMain").get_by_text(text).first.wait_for()
        page.evaluate(AXE)
        for scheme, width in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 1200})
            page.wait_for_function(f"() => getComputedStyle(document.querySelector('.stApp')).colorScheme === '{scheme}'")
            settled(page)
            if faults := page.evaluate(RULES):
                found[f"{name} {scheme} {width}"] = faults
    assert not found
