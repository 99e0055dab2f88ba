"""Back, Forward and a reload: a page shows what its address names."""

import re

import pytest
from made_run import mixed_csv

from tabtune_core.data.datasets import add_dataset

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
