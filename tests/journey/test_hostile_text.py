"""Text out of a file is never markup: a table whose names are Markdown, HTML and addresses, looked at on every page."""

import io

import pandas as pd
import pytest
from made_run import made_run
from page_steps import drawn

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser

ELSEWHERE = "http://x.example"
PARTS = (
    f"![a]({ELSEWHERE}/1)",
    f"<img src={ELSEWHERE}/2>",
    f"[a]({ELSEWHERE}/3)",
    "$x^2$",
    ":red[a]",
    "<b>a</b>",
    f"{ELSEWHERE}/4",
    ":tada:",
)
HOSTILE = " ".join(PARTS)
PAGES = {
    "": ["Reading choices", "Distributions and associations of all columns"],
    "new_run": ["Settings as text", "Advanced"],
    "live": ["Log (last 200 lines)"],
    "leaderboard": ["Filters", "Columns"],
    "compare": [],
    "adapters": ["How to open it"],
    "try_it": [],
    "guide": [],
}
"""With what is opened on each."""
MARKUP = """() => [
  ...document.querySelectorAll('[src*="x.example"], [href*="x.example"], [data*="x.example"]'),
  ...document.querySelectorAll('[data-testid="stMain"] .katex'),
  ...[...document.querySelectorAll('[data-testid="stMain"] b, [data-testid="stMain"] [style*="color"] ')].filter(
      (found) => found.tagName === 'B' && found.textContent === 'a'),
].map((found) => found.outerHTML.slice(0, 300))"""


def table():
    """Every name and label is hostile; one class and half of the columns are told apart by a letter."""
    names = [f"{HOSTILE} {letter}" for letter in "pqr"]
    rows = [
        {names[0]: i % 7, names[1]: f"{HOSTILE} {'uv'[i % 2]}", names[2]: i % 5, "verdict": f"{['no', 'yes'][i % 3 > 0]} {HOSTILE}"}
        for i in range(90)
    ]
    file = io.StringIO()
    pd.DataFrame(rows).to_csv(file, index=False)
    return file.getvalue().encode()


@pytest.fixture
def hostile(tmp_path):
    """A workspace with a finished run, one that failed, and a name and a note of a person."""
    store = RunStore(tmp_path)
    run = made_run(store, data=table(), name=f"{HOSTILE}.csv")
    (other,) = store.add_sweep([store.run(run).settings], HOSTILE)[1]
    store.finish(other, "failed", error=f"The cell {HOSTILE} is none.")
    for one in (run, other):
        store.rename(one, f"LoRA r=4 {HOSTILE}")
        store.annotate(one, HOSTILE)
    return run


def test_no_page_takes_text_for_markup_or_asks_another_machine(serve, page, hostile):
    address = serve()
    asked = []
    page.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: (asked.append(route.request.url), route.abort()))
    for name, boxes in PAGES.items():
        page.goto(f"{address}/{name}")
        drawn(page)
        for box in boxes:
            page.locator("summary").filter(has_text=box).first.evaluate("(summary) => summary.click()")
            drawn(page)
        for tab in page.get_by_role("tab").all():
            tab.evaluate("(one) => one.click()")
            drawn(page)
            if name != "guide":
                assert page.evaluate(MARKUP) == [], (name, tab.inner_text())
        if name != "guide":  # whose formulas are its own
            assert page.evaluate(MARKUP) == [], name
    assert asked == []


def test_predictions_and_a_chart_s_toolbar_neither(serve, page, hostile):
    address = serve()
    asked = []
    page.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: (asked.append(route.request.url), route.abort()))
    page.goto(f"{address}/try_it?adapter={hostile}")
    page.get_by_role("button", name="Predict this row").click()
    page.get_by_role("button", name="Download predictions").wait_for()
    assert page.evaluate(MARKUP) == []
    page.goto(f"{address}/compare")
    page.locator(".js-plotly-plot .modebar").first.wait_for(state="attached")
    buttons = page.evaluate("() => [...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title ?? '')")
    assert buttons
    assert not [title for title in buttons if "hare" in title or "loud" in title or "lotly" in title]
    assert asked == []
