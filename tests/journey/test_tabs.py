"""Tabs of a real browser: Back and Forward, and Live while its sweep ends."""

import re
import threading

import pytest
import seeding
from made_run import mixed_csv
from page_steps import drawn

from tabtune_core.data.datasets import add_dataset
from tabtune_core.store.runs import RunStore

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_back_opens_each_page_once_with_the_table_that_its_address_names(serve, page, tmp_path):
    older = add_dataset(tmp_path, mixed_csv(seed=1), "older.csv").id
    newer = add_dataset(tmp_path, mixed_csv(seed=2), "newer.csv").id

    def shown(name, table):
        page.get_by_role("heading", name=name, level=1).wait_for()
        page.wait_for_url(re.compile(f"table={table}"))
        title = {older: "older.csv", newer: "newer.csv"}[table]
        page.wait_for_function(
            "title => document.querySelector('[data-testid=stSelectbox] input')?.value.startsWith(title)", arg=title
        )

    page.goto(f"{serve()}/?table={older}&target=weight")
    page.get_by_role("button", name="Next").click()
    shown("New run", older)
    page.wait_for_url(re.compile("model="))
    page.get_by_role("link", name="Leaderboard").click()
    page.get_by_role("heading", name="Leaderboard", level=1).wait_for()
    page.reload()  # this session forgets the older table
    page.get_by_role("heading", name="Leaderboard", level=1).wait_for()
    page.get_by_role("link", name="New run").click()
    shown("New run", newer)
    page.go_back()
    page.get_by_role("heading", name="Leaderboard", level=1).wait_for()
    page.go_back()
    shown("New run", older)
    page.go_back()
    shown("Data", older)
    page.go_forward()
    shown("New run", older)
    page.go_forward()
    page.get_by_role("heading", name="Leaderboard", level=1).wait_for()
    page.go_forward()
    shown("New run", newer)


RECORDER = """const Real = window.Notification; window.told = []
window.Notification = class extends Real { constructor(title, more) { super(title, more); told.push(`${title}: ${more.body}`) } }"""
"""Records the arguments of the browser's notifications without showing them."""
MOMENTS = (0.0, 0.75)
"""Seconds from the end of the sweep to the click; a refresh notices the end within about one."""


def going(store):
    settings = [run for run in seeding.sweep_settings(store.home, ranks=(2,)).expand() if run.strategy == "peft"]
    sweep, (run_id,) = store.add_sweep(settings, "short")
    run = seeding.FakeRun(store, settings[0], run_id)
    seeding.start(run)
    for step in range(1, 11):
        run.step(step)
    return sweep, run


def test_the_end_is_notified_once_and_the_leaderboard_is_complete_whenever_live_is_left(serve, browser, page, tmp_path):
    store = RunStore(tmp_path)
    (sweep, run), *sweeps = [going(store) for _ in (None, *MOMENTS)]
    address = serve()
    other = browser.new_page()
    for tab in (page, other):
        tab.context.grant_permissions(["notifications"], origin=address)
        tab.add_init_script(RECORDER)
        tab.goto(f"{address}/live?sweep={sweep}")
        tab.get_by_role("button", name="Notify me at the end").wait_for()
    page.get_by_text("0 of 1 runs have ended").wait_for()
    page.get_by_role("button", name="Notify me at the end").click()
    page.get_by_role("button", name="✓ Notifies you at the end").wait_for()
    board = browser.new_page()
    board.goto(f"{address}/leaderboard?board={sweep}")
    board.get_by_text("The recommendation appears after the last run").wait_for()
    run.end()
    board.get_by_text("is alone: validation").wait_for()
    other.get_by_text("1 of 1 runs have ended.").wait_for()
    page.get_by_text("1 of 1 runs have ended.").wait_for()
    page.wait_for_timeout(1500)
    assert (page.evaluate("told"), other.evaluate("told")) == (["LoRA Lab: short has ended: 1 finished."], [])
    board.close()
    other.close()
    page.get_by_role("button", name="Leaderboard").click()
    page.get_by_text("is alone: validation").wait_for()

    for moment, (sweep, run) in zip(MOMENTS, sweeps, strict=True):
        page.goto(f"{address}/live?sweep={sweep}")
        page.get_by_text("0 of 1 runs have ended").wait_for()
        page.locator('[class*="st-key-loss_"] .js-plotly-plot .scatterlayer .trace').first.wait_for()
        ending = threading.Timer(0.2, run.end)
        ending.start()
        page.wait_for_timeout(200 + 1000 * moment)
        page.get_by_role("link", name="Leaderboard").click()
        ending.join()
        page.get_by_role("heading", name="Leaderboard").wait_for()
        page.get_by_role("button", name="Download the leaderboard (CSV)").wait_for()
        drawn(page)
        page.wait_for_timeout(1200)  # everything under way has arrived
        assert page.get_by_role("heading", name="Leaderboard").is_visible(), moment
        assert page.get_by_role("button", name="Download the leaderboard (CSV)").is_visible(), moment
        assert "/leaderboard" in page.url
