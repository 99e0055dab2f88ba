"""Live is left for the Leaderboard while its sweep ends, or with a click still on its way, or drawn anew during a refresh: all is there, whole.

``LEAVINGS=50 pytest tests/journey/test_leaving_live.py`` leaves as many times, at other moments around the end.
"""

import os
import threading

import pytest
import seeding
from page_steps import drawn

from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.browser
LEAVINGS = int(os.environ.get("LEAVINGS", "4"))
MOMENTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05, 1.2, 1.4)
"""Seconds from the end of the sweep to the click: a refresh that sees the end comes within about one."""


def going(store):
    """A sweep whose only run goes on, in this process."""
    settings = [run for run in seeding.sweep_settings(store.home, ranks=(2,)).expand() if run.strategy == "peft"]
    sweep, (run_id,) = store.add_sweep(settings, "short")
    run = seeding.FakeRun(store, settings[0], run_id)
    seeding.start(run)
    for step in range(1, 11):
        run.step(step)
    return sweep, run


def test_an_open_board_follows_its_sweep_and_live_leads_to_it_at_the_end(serve, browser, page, tmp_path):
    sweep, run = going(RunStore(tmp_path))
    address = serve()
    page.goto(f"{address}/live?sweep={sweep}")
    page.get_by_text("0 of 1 runs have ended.").wait_for()
    board = browser.new_page()
    board.goto(f"{address}/leaderboard?board={sweep}")
    board.get_by_text("Some runs of this sweep have not ended").wait_for()
    run.end()
    board.get_by_text("leads on the validation rows").wait_for()
    page.get_by_role("button", name="Leaderboard").click()
    page.get_by_text("leads on the validation rows").wait_for()


def test_the_leaderboard_is_there_after_live_was_left_as_its_sweep_ended(serve, page, tmp_path):
    store = RunStore(tmp_path)
    sweeps = [going(store) for _ in range(LEAVINGS)]
    address = serve()
    for number, (sweep, run) in enumerate(sweeps):
        page.goto(f"{address}/live?sweep={sweep}")
        page.get_by_text("0 of 1 runs have ended.").wait_for()
        page.locator('[class*="st-key-loss_"] .js-plotly-plot .scatterlayer .trace').first.wait_for()
        ending = threading.Timer(0.2, run.end)
        ending.start()
        page.wait_for_timeout(200 + 1000 * MOMENTS[number * len(MOMENTS) // LEAVINGS])
        page.get_by_role("link", name="Leaderboard").click()
        ending.join()
        page.get_by_role("heading", name="Leaderboard").wait_for()
        page.get_by_role("button", name="Download the leaderboard (CSV)").wait_for()
        drawn(page)
        page.wait_for_timeout(1200)  # what was on its way has come
        assert page.get_by_role("heading", name="Leaderboard").is_visible(), number
        assert page.get_by_role("button", name="Download the leaderboard (CSV)").is_visible(), number
        assert "/leaderboard" in page.url


SLOW = """
import time
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from dashboard import __main__ as dashboard
carry_out = ScriptRunner._run_script
def run_script(self, asked):
    time.sleep(0 if asked.fragment_id_queue else 1.5)
    carry_out(self, asked)
ScriptRunner._run_script = run_script
dashboard.main()
"""
"""A dashboard that begins to draw a page so late that clicks on the one before still come."""


def test_a_click_on_live_that_comes_after_another_page_was_asked_for_blanks_nothing(serve, page, tmp_path):
    sweep, _ = going(RunStore(tmp_path))
    page.goto(f"{serve(program=SLOW)}/live?sweep={sweep}")
    page.locator('[class*="st-key-loss_"] .js-plotly-plot .scatterlayer .trace').first.wait_for()
    tab = page.get_by_role("tab", name="Gradient norm")
    page.get_by_role("link", name="Leaderboard").click(no_wait_after=True)
    tab.click(force=True, no_wait_after=True)
    page.get_by_role("heading", name="Leaderboard").wait_for()
    page.get_by_role("button", name="Download the leaderboard (CSV)").wait_for()
    drawn(page)
    page.wait_for_timeout(1500)  # the click has been answered, or passed over
    assert page.get_by_role("heading", name="Leaderboard").is_visible()
    assert (tmp_path / "server.log").read_text().count("Couldn't find fragment") == 0


SLOW_REFRESH = """
import time
from streamlit.runtime.scriptrunner import get_script_run_ctx
from dashboard import __main__ as dashboard, queries
latest = queries.latest
def slow_latest(*asked):
    time.sleep(0.5 if get_script_run_ctx().fragment_ids_this_run else 0)
    return latest(*asked)
queries.latest = slow_latest
dashboard.main()
"""
"""A dashboard whose refreshes take longer than it takes to begin to draw the page."""


def test_a_page_that_is_drawn_anew_in_the_middle_of_a_refresh_logs_no_error(serve, page, tmp_path):
    sweep, _ = going(RunStore(tmp_path))
    page.goto(f"{serve(program=SLOW_REFRESH)}/live?sweep={sweep}")
    page.locator('[class*="st-key-loss_"] .js-plotly-plot .scatterlayer .trace').first.wait_for()
    for number in range(8):
        page.get_by_role("radio", name=("Seconds", "Steps")[number % 2]).click()
        page.wait_for_timeout(1000 + 120 * number)
    assert "Error" not in (tmp_path / "server.log").read_text()
