"""The leaderboard as a page: names are text in it, and it asks no other machine for anything."""

import re

import pandas as pd
import pytest

from tabtune_core.analysis.html_report import page, pareto

NAME = "<b>x</b><a href='http://x.example'>y</a><img src=http://x.example>"
BOARD = pd.DataFrame(
    {
        "place": [1],
        "name": [NAME],
        "validation_log_loss": [0.5],
        "run_growth_memory_bytes": [1e6],
        "trainable_parameters": [10],
        "own_note": ["see http://x.example"],
    }
)


@pytest.fixture(scope="module")
def html():
    return page(BOARD, "log_loss")


def test_a_name_is_text_in_table_and_figures(html):
    shown = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "<img" not in shown and "<a " not in shown and "&lt;img" in shown
    figure = pareto(BOARD, "log_loss", "run_growth_memory_bytes")
    assert not re.search(r"<[a-z/]", figure.data[1].text[0])


def test_the_page_asks_no_machine_and_has_no_button_that_does(html):
    assert "default-src 'none'" in html
    assert html.count('"showSendToCloud": false') == 2
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?http", html)
