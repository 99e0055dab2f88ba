"""Text out of files shows as it stands; numbers of a table are written like those of a sentence."""

import re
import string

import pandas as pd
import pytest

from dashboard.formatting import digits_behind, plain, rounded, with_code
from tabtune_core.metrics import METRICS
from tabtune_core.wording import number


def seen(text):
    """What a reader of the escaped text sees: CommonMark takes the backslashes away."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", plain(text)).replace("\u200b", "")


@pytest.mark.parametrize("text", [string.printable.strip(), "![x](http://x/y)", "a @ b, me@x.org", "10:30", "café: 5 µm"])
def test_text_shows_as_it_stands(text):
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
def test_what_is_found_when_the_escapes_are_gone_is_parted(text, markup):
    assert not re.search(markup, plain(text).replace("\\", ""), re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Predicts `fault` (a*b).", r"Predicts `fault` \(a\*b\)\."),
        ("`a`![b](c)`d`", r"`a`\!\[b\]\(c\)`d`"),
        ("`a\n# b` c", "`a # b` c"),
    ],
)
def test_names_between_backticks_show_as_code_and_never_as_markup(text, shown):
    assert with_code(text) == shown


@pytest.mark.parametrize("score", [0.078213, 3.25, 62_506.94, 1_686_490.5])
def test_a_score_is_written_in_a_table_as_in_a_sentence(score):
    values, digits = pd.Series([score, None]), METRICS["rmse"].decimals(score)
    form, shown = digits_behind(values, digits)["format"], rounded(values, digits)[0]
    written = f"{shown:,.{digits}f}" if form == "localized" else form % shown
    assert written == METRICS["rmse"].text(score)


@pytest.mark.parametrize("power", range(-12, 15))
def test_no_number_has_a_power_of_ten_and_all_are_read_back(power):
    value = -1.68649 * 10.0**power
    assert "e" not in number(value)
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=1e-5)
