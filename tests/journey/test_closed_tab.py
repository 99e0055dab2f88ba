"""Closing a tab while a file is read ends the reading."""

import time

import pytest
from page_steps import PATIENCE_MS

pytestmark = [pytest.mark.browser, pytest.mark.slow]


SOON = """
from dashboard import start as dashboard
from dashboard.views.data import reading
reading.AWAY_LOOK_SECONDS, reading.MOST_AWAY_SECONDS = 0.2, 1
dashboard.main()
"""
"""A dashboard that treats a tab as closed after a second, before any reading ends by itself."""


def incoming(home):
    return list((home / "datasets").glob("incoming-*"))


def test_a_closed_tab_ends_its_reading_and_nothing_is_left(serve, browser, tmp_path):
    """The tab is closed on the Data page, or on another one."""
    (tmp_path / "long.csv").write_bytes(b"a,b,y\n" + b"1,2,k\n" * 4_900_000)
    address = serve(program=SOON)
    for elsewhere in ([], ["Leaderboard"]):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.locator('input[type="file"]').set_input_files(tmp_path / "long.csv")
        page.get_by_role("button", name="Cancel reading").wait_for()
        for link in elsewhere:
            page.get_by_role("link", name=link).click()
            page.get_by_role("heading", name=link).wait_for()
        assert incoming(tmp_path)
        page.close()
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while incoming(tmp_path):
            assert time.monotonic() < deadline, "the reading goes on"
            time.sleep(0.2)
        assert not [folder for folder in (tmp_path / "datasets").iterdir() if folder.is_dir()]
