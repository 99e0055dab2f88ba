"""Text from a file is never markup: names of Markdown, HTML and addresses on every page, and in a predicted row."""

import io
import itertools
import os
import re

import pandas as pd
import pytest
from made_run import made_run
from page_steps import drawn

from tabtune_core.execution.jobs import run_job
from tabtune_core.store.runs import RunStore

pytestmark = [pytest.mark.browser, pytest.mark.slow]

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
POPOVERS = ("Columns",)
STEPS = {
    "Data": {"Reading choices": "stForm"},
    "New run": {"Settings as text": "stCode", "More settings": "stTabs"},
    "Live": {"Log (last 200 lines)": "stCode"},
    "Leaderboard": {},
    "Compare": {},
    "Adapters": {"How to load it": "stCode"},
}
"""By the title of each page, the parts to open on it, and a kind of element that they show."""
MARKUP = """() => [
  ...document.querySelectorAll('[src*="x.example"], [href*="x.example"], [data*="x.example"], .katex'),
  ...[...document.querySelectorAll('b, span[class*="stMarkdownColored"], [data-testid="stMain"] a')].filter(
      (found) => found.textContent.trim() === 'a'),
].map((found) => found.outerHTML.slice(0, 300))"""
OWN_CSV = """() => [...document.querySelectorAll('[data-testid="stElementToolbarButton"]:has([aria-label="Download as CSV"])')].map(
    (button) => getComputedStyle(button).display)"""
"""True if Streamlit's own table download shows, whose texts a spreadsheet could read as formulas."""
REFUSED = (
    "document.addEventListener('securitypolicyviolation', (event) => console.error(`The policy refuses "
    "${event.blockedURI}`))"
)


def carry_out(store):
    """Executes the worker's jobs in this process, which has torch loaded."""
    job = store.claim_job(os.getpid(), None)
    store.job_dir(job.id).mkdir(parents=True)
    done = run_job(job.kind, home=store.home, folder=store.job_dir(job.id), arguments=job.arguments)
    store.finish_job(job.id, "finished", result=done)


def table():
    """A table with hostile names and labels; letters make the classes and half of the columns distinct."""
    names = [f"{HOSTILE} {letter}" for letter in "pqr"]
    rows = [
        {
            names[0]: i % 7,
            names[1]: f"{HOSTILE} {'uv'[i % 2]}",
            names[2]: i % 5,
            "verdict": f"{['no', 'yes'][i % 3 > 0]} {HOSTILE}",
        }
        for i in range(90)
    ]
    file = io.StringIO()
    pd.DataFrame(rows).to_csv(file, index=False)
    return file.getvalue().encode()


@pytest.fixture
def hostile(tmp_path):
    """The prediction of the first test row of a finished run; a failed run is beside it, both with hostile names."""
    store = RunStore(tmp_path)
    run = made_run(store, data=table(), name=f"{HOSTILE}.csv", sweep=HOSTILE)
    failed = store.duplicate(run, store.run(run).settings)
    store.finish(failed, "failed", error=f"The cell {HOSTILE} is none.")
    for one in (run, failed):
        store.rename(one, f"LoRA r=4 {HOSTILE}")
        store.annotate(one, HOSTILE)
    return pd.read_parquet(store.run_dir(run) / "predictions.parquet").iloc[0]  # for the row that the page proposes


def to(page, title):
    page.get_by_role("link", name=title).click()
    page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
    drawn(page)


def opened(page, boxes):
    """Opens boxes and tabs one by one, and those that they reveal."""
    for box, kind in boxes.items():
        expander = page.get_by_test_id("stExpander").filter(has=page.locator("summary").filter(has_text=box)).first
        expander.locator("summary").first.click()
        expander.get_by_test_id(kind).first.wait_for()
    for popover in page.get_by_role("button", name=re.compile("|".join(POPOVERS))).all():
        popover.click()
        page.get_by_test_id("stPopoverBody").get_by_role("combobox").first.wait_for()
        yield
        page.keyboard.press("Escape")
    for tab in page.get_by_role("tab").all():
        tab.evaluate("(one) => one.click()")
        drawn(page)
        panel = page.locator(f'[role="tabpanel"][aria-labelledby="{tab.get_attribute("id")}"]')
        panel.get_by_test_id("stElementContainer").first.wait_for(state="attached")
        yield


def test_no_page_treats_text_as_markup_or_contacts_another_machine(serve, page, hostile, tmp_path):
    address = serve()
    asked, complaints = [], []
    page.route(
        lambda url: not url.startswith((address, "data:", "blob:")),
        lambda route: (asked.append(route.request.url), route.abort()),
    )
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.add_init_script(REFUSED)
    page.goto(f"{address}/?target=verdict")
    to(page, "Data")
    to(page, "Try it")
    page.get_by_text("Predictions", exact=True).wait_for()
    carry_out(RunStore(tmp_path))
    page.wait_for_url(re.compile(r"[?&]job="))
    predicted = page.url

    for title, boxes in STEPS.items():
        to(page, title)
        for _ in itertools.chain(opened(page, boxes), [None]):
            assert page.evaluate(MARKUP) == [], title
        if title == "Data":
            assert set(page.evaluate(OWN_CSV)) == {"none"}
        if title == "Compare":
            page.get_by_role("tab", name="Trade-offs").click()
            page.locator(".js-plotly-plot .modebar-btn").first.wait_for(state="attached")
            buttons = page.evaluate(
                "() => [...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title ?? '')"
            )
            assert any("PNG" in button for button in buttons)
            assert not [button for button in buttons if "hare" in button or "loud" in button or "lotly" in button]

    page.goto(predicted)
    with page.expect_download() as found:
        page.get_by_role("button", name="Download predictions").click()
    (told,) = pd.read_csv(found.value.path()).to_dict("records")
    adapter, base = (
        {name.split(": ")[-1].split(" ")[0]: told[name] for name in told if name.startswith(who)}
        for who in ("LoRA", "Base")
    )
    assert [*adapter[["predicted", "probability"]]] == [
        hostile["predicted"],
        pytest.approx(hostile["prob_1"], abs=1e-6),
    ]
    assert base["probability"] != pytest.approx(hostile["prob_1"], abs=1e-4)
    assert page.evaluate(MARKUP) == []
    assert page.get_by_test_id("stAppDeployButton").count() == 0
    assert asked == []
    # at a page's address Streamlit first looks for its server below that address, and finds it at the second try
    assert [text for text in complaints if "Failed to load resource" not in text] == []
