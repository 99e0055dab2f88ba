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
        "growth_memory_bytes": [1e6],
        "trainable_parameters": [10],
        "own_note": ["see http://x.example"],
    }
)


@pytest.fixture(scope="module")
def html():
    return page(BOARD, "log_loss")


def test_a_name_is_text_in_table_and_figures(html):
    assert "<img src=http" not in html and "<a href='http" not in html
    figure = pareto(BOARD, "log_loss", "growth_memory_bytes")
    assert not re.search(r"<[a-z/]", figure.data[1].text[0])


def test_the_page_asks_no_machine_and_has_no_button_that_does(html):
    assert "default-src 'none'" in html
    assert html.count('"showSendToCloud": false') == html.count('"plotlyServerURL": ""') == 2
    assert "BASE_URL='https" not in html and 'BASE_URL="https' not in html
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?http", html)
