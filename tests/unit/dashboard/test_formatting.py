"""Text from files is shown literally; numbers have the same format in tables and sentences."""

import re
import string

import numpy as np
import pandas as pd
import pytest

from dashboard.formatting import duration, plain
from dashboard.table_columns import as_they_come, digits_behind, rounded
from tabtune_core.metrics import METRICS


def seen(text):
    """Returns what a reader of the escaped text sees: CommonMark removes the backslashes."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text)).replace("\u200b", "")


@pytest.mark.parametrize(
    "text", [string.printable.strip(), "![x](http://x/y)", "a @ b, me@x.org", "10:30", "café: 5 µm"]
)
def test_text_is_shown_literally(text):
    assert seen(text) == re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("http://x.example/y", r"https?://"),
        ("WWW.x.example", r"www\."),
        ("me@x.example", r"\w@\w"),
        (":material/delete:", r":[a-z]"),
        (":red[x]", r":[a-z]"),
        (":+1: and :100:", r":[+1]"),
        ("a\n\n# b", r"\n"),
        ("\u202egnp.exe\u2066", "[\u202e\u2066]"),
    ],
)
def test_markup_that_appears_after_unescaping_is_broken_up(text, markup):
    assert not re.search(markup, plain(text).replace("\\", ""), re.IGNORECASE)


@pytest.mark.parametrize("score", [0.078213, 3.25, 62_506.94, 1_686_490.5])
def test_a_score_has_the_same_format_in_tables_and_sentences(score):
    values, digits = pd.Series([score, None]), METRICS["rmse"].decimals([score])
    form, shown = digits_behind(values, digits)["format"], rounded(values, digits)[0]
    written = f"{shown:,.{digits}f}" if form == "localized" else form % shown
    assert written == METRICS["rmse"].text(score)


@pytest.mark.parametrize("seed", range(20))
def test_a_column_of_numbers_of_any_size_shows_six_digits_of_each(seed):
    rng = np.random.default_rng(seed)
    values = pd.Series(rng.normal(size=30) * 10.0 ** rng.uniform(-9, 14, 30), name="mixed").round(
        int(rng.integers(1, 20))
    )
    look = as_they_come(values)
    written = [f"{value:,.3f}" if look["format"] == "localized" else look["format"] % value for value in values]
    assert [float(text.replace(",", "")) for text in written] == pytest.approx(values.tolist(), rel=5e-6)


def test_large_numbers_have_commas_if_three_decimals_show_all():
    assert as_they_come(pd.Series([250_000.0, 0.125, None]))["format"] == "localized"
    assert as_they_come(pd.Series([250_000.0, 0.0003834, None]))["format"] == "%.10g"
    assert as_they_come(pd.Series([2.5, 0.0003834, None]))["format"] == "%.6g"


def test_absurd_durations_are_years():
    assert [duration(seconds) for seconds in (7800, 5e7)] == ["2 h 10 min", "1.6 years"]
    assert duration(7.5e17) == "23,766,065,860.5 years"
