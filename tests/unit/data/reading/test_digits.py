# ruff: noqa: RUF001
"""Numbers and dates mean the same in the digits of every script; words keep theirs."""

import random

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.findings import ReadAs, ReadingChoices
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import read_table
from tabtune_core.data.values import numbers, places

SCRIPTS = {
    "Arabic-Indic": ("٠١٢٣٤٥٦٧٨٩", "٫", "٬"),
    "Persian": ("۰۱۲۳۴۵۶۷۸۹", "٫", "٬"),
    "Devanagari": ("०१२३४५६७८९", ".", ","),
    "Bengali": ("০১২৩৪৫৬৭৮৯", ".", ","),
    "Thai": ("๐๑๒๓๔๕๖๗๘๙", ".", ","),
    "full-width": ("０１２３４５６７８９", "．", "，"),
}
DRAW = random.Random(0)
COLUMNS = {
    "tenths": lambda: f"{DRAW.uniform(-99, 99):.1f}",
    "thousands": lambda: f"{DRAW.randint(-99_999, 99_999):,}",
    "units": lambda: f"{DRAW.uniform(1, 99):.1f} كغ",
    "percent": lambda: f"{DRAW.randint(1, 99)} %",
    "days": lambda: f"2024-{DRAW.randint(1, 12):02}-{DRAW.randint(1, 28):02}",
}
KINDS = dict.fromkeys(COLUMNS, "number") | {"days": "date"}


def in_script(frame, script):
    digits, decimal, between = SCRIPTS[script]
    return frame.apply(
        lambda column: column.str.translate(str.maketrans("0123456789.,", f"{digits}{decimal}{between}"))
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_numbers_and_dates_mean_the_same_in_every_script(script):
    frame = pd.DataFrame({name: [draw() for _ in range(40)] for name, draw in COLUMNS.items()})
    plain, table = (read_table(one.to_csv(index=False).encode()) for one in (frame, in_script(frame, script)))
    assert {column.name: column.kind for column in table.columns} == KINDS
    pd.testing.assert_frame_equal(table.frame, plain.frame)
    facts = ReadAs(table.reading, KINDS, [*KINDS], "y")
    for rows in (frame, in_script(frame, script)):
        mixed = pd.concat([rows.iloc[3:5], frame.iloc[5:6]])
        read = read_new_rows(mixed.to_csv(index=False, sep=";").encode(), facts)
        np.testing.assert_array_equal(read.frame, table.frame.iloc[3:6])
    np.testing.assert_array_equal(numbers(in_script(frame, script)["tenths"]), plain.frame["tenths"])


@pytest.mark.parametrize("blank", ["\u00a0", "\u2007", "\u2009", "\u202f"], ids=ascii)
def test_a_space_that_does_not_break_is_a_space(blank):
    more = {
        "price": [f"{DRAW.uniform(1, 99):.2f} €" for _ in range(40)],
        "grouped": [f"{DRAW.randint(1_000, 99_999):,}".replace(",", " ") for _ in range(40)],
        "when": [f"{DRAW.randint(1, 12)}/28/2024 {DRAW.randint(1, 12)}:07 PM" for _ in range(40)],
    }
    frame = pd.DataFrame(
        {name: [draw() for _ in range(40)] for name, draw in COLUMNS.items()} | more | {"word": ["a b", "c d"] * 20}
    )
    written = frame.map(lambda cell: cell.replace(" ", blank))
    plain, table = (read_table(one.to_csv(index=False).encode()) for one in (frame, written))
    assert [column.kind for column in table.columns] == [column.kind for column in plain.columns]
    assert [column.kind for column in table.columns[-4:]] == ["number", "number", "datetime", "category"]
    pd.testing.assert_frame_equal(table.frame.drop(columns="word"), plain.frame.drop(columns="word"))
    assert set(table.frame["word"]) == {f"a{blank}b", f"c{blank}d"}
    facts = ReadAs(plain.reading, {column.name: column.kind for column in plain.columns}, [*frame], "y")
    pd.testing.assert_frame_equal(
        read_new_rows(written[:3].to_csv(index=False).encode(), facts).frame[[*more]], plain.frame[:3][[*more]]
    )


@pytest.mark.parametrize(
    "around", ["\u200e{}", "\u202a{}\u202c", "\u2067{}\u2069", "{}\u200b", "\ufeff{}", "\u200e {}\u200f"], ids=ascii
)
def test_invisible_letters_around_cells_change_nothing(around):
    frame = pd.DataFrame(
        {name: [draw() for _ in range(40)] for name, draw in COLUMNS.items()} | {"word": ["né", "ab"] * 20}
    )
    marked = frame.map(around.format)
    plain, table = (read_table(one.to_csv(index=False).encode()) for one in (frame, marked))
    pd.testing.assert_frame_equal(table.frame[[*KINDS]], plain.frame[[*KINDS]])
    facts = ReadAs(plain.reading, KINDS | {"word": "category"}, [*frame], "y")
    read = read_new_rows(marked[:3].to_csv(index=False).encode(), facts)
    np.testing.assert_array_equal(read.frame[[*KINDS]], plain.frame[[*KINDS]][:3])
    assert (places(read.frame["word"], ["ab", "né"]).tolist(), read.notes) == ([1, 0, 1], ())


def test_a_word_is_the_same_in_both_encodings_of_its_accents_unless_both_are_known():
    assert places(["Zu\u0308rich", "Zürich", "Zurich"], ["Köln", "Zürich"]).tolist() == [1, 1, -1]
    assert places(["Zu\u0308rich", "Zürich", "\u200eZürich"], ["Zu\u0308rich", "Zürich"]).tolist() == [0, 1, -1]


def test_a_chosen_number_column_reads_other_digits_and_words_keep_theirs():
    table = read_table("a,b,c\n٥٣٫٧,غرفة ٣,٠٠١\nx,غرفة ٤,٠٠٢\n".encode(), ReadingChoices(kinds=(("a", "number"),)))
    assert table.frame["a"].tolist()[0] == 53.7
    assert table.frame[["b", "c"]].to_numpy().tolist() == [["غرفة ٣", "٠٠١"], ["غرفة ٤", "٠٠٢"]]


@pytest.mark.parametrize("cell", ["\u00ad5", "10\u00ad20", "2024\u00ad01\u00ad05"], ids=ascii)
def test_a_soft_hyphen_which_may_be_what_is_left_of_a_minus_sign_is_not_left_out_of_a_number(cell):
    table = read_table(("a,y\n" + f"{cell},1\n" * 3 + "7,2\n" * 30).encode())
    assert not {5.0, 1020.0, 20240105.0} & {value for value in table.frame["a"] if isinstance(value, float)}


def test_an_answer_about_a_word_holds_for_cells_with_invisible_letters():
    content = "x,y\n" + "".join(
        f"{row if row % 8 else word},a\n" for row, word in enumerate(["NA\u200b", "\u200eN\u200bA", "NA"] * 24)
    )
    (question,) = read_table(content.encode()).questions
    assert question.options == ("NA",)
    answered = read_table(content.encode(), ReadingChoices(missing_marks=question.options))
    assert (answered.questions, answered.columns[0].kind, answered.columns[0].missing) == ((), "number", 9)
