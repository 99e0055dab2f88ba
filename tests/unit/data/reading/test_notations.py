"""Numbers in notations that look like others are read as they are meant, or a finding says how they were read."""

import random
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tabtune_core.data.findings import ReadAs, ReadingChoices
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import read_table

GERMAN = str.maketrans(",.", ".,")
SEPARATORS = [",", ";", "\t", "|"]


def table_of(separator="\t", **columns):
    return read_table(pd.DataFrame(columns).to_csv(index=False, sep=separator).encode())


def one(cells, name="n"):
    """How a column reads beside words: its values if it holds numbers, and its finding."""
    table = table_of(**{name: cells}, word=[f"w{row % 3}" for row in range(len(cells))])
    column = table.columns[0]
    finding = next((found for found in table.findings if found.column == name), None)
    return table.frame[name].tolist() if column.kind == "number" else None, finding, table


def predicted(table, text):
    kinds = {column.name: column.kind for column in table.columns}
    return read_new_rows(text.encode(), ReadAs(ReadingChoices.from_json(table.reading.to_json()), kinds, [*kinds], ""))


@pytest.mark.parametrize("separator", SEPARATORS)
@settings(max_examples=5, deadline=None)
@given(some.lists(some.floats(1e-12, 1e12), min_size=8, max_size=12, unique=True), some.integers(1, 6))
def test_a_comma_in_scientific_notation_is_decimal_and_so_is_a_point_beside_decimal_commas(separator, drawn, digits):
    cells = [f"{number:.{digits}E}" for number in drawn]
    table = table_of(
        separator, n=[cell.translate(GERMAN) for cell in cells], share=["9,5"] * len(cells), word=["w"] * len(cells)
    )
    assert table.frame["n"].tolist() == [float(cell) for cell in cells]
    for written in (cells[0], cells[0].translate(GERMAN)):
        assert predicted(table, f"n;share;word\n{written};9,5;w\n").frame["n"].tolist() == [float(cells[0])]


DRAW = random.Random(0)
COLUMNS = {
    "sure": [f"{DRAW.uniform(1, 99):.2f}".translate(GERMAN) for _ in range(40)],
    "thousandths": [f"{DRAW.randint(1, 99)},{DRAW.randint(100, 999)}" for _ in range(40)],
    "points": [f"{DRAW.randint(1, 99)}.{DRAW.randint(100, 999)}" for _ in range(40)],
    "whole": [str(DRAW.randint(1, 9_999)) for _ in range(40)],
}


@pytest.mark.parametrize("separator", SEPARATORS)
def test_sure_decimal_commas_tell_how_the_other_columns_are_meant_and_each_can_be_changed_back(separator):
    table = table_of(separator, **COLUMNS)
    assert dict(table.reading.decimal_commas) == dict.fromkeys(COLUMNS, True)
    for name in COLUMNS:
        assert table.frame[name].tolist() == [float(cell.replace(".", "").replace(",", ".")) for cell in COLUMNS[name]]
    assert {found.column for found in table.findings if found.code == "decimal-comma"} == {
        "sure",
        "thousandths",
        "points",
    }
    content, commas = (
        pd.DataFrame(COLUMNS).to_csv(index=False, sep=separator).encode(),
        dict(table.reading.decimal_commas),
    )
    back = read_table(
        content, ReadingChoices(decimal_commas=tuple((commas | {"thousandths": False, "points": False}).items()))
    )
    assert back.frame["thousandths"].tolist() == [float(cell.replace(",", "")) for cell in COLUMNS["thousandths"]]
    assert back.frame["points"].tolist() == [*map(float, COLUMNS["points"])]
    assert back.frame["sure"].equals(table.frame["sure"])
    assert read_table(content, replace(back.reading, day_first=True)).frame.equals(back.frame)


@pytest.mark.parametrize("other", [["2.5"] * 40, ["1,234,567"] * 20 + ["12,34,567"] * 20, ["1,234.5"] * 40])
def test_a_table_with_both_marks_is_read_column_by_column(other):
    table = table_of(**COLUMNS, other=other)
    assert table.frame["thousandths"].tolist() == [float(cell.replace(",", "")) for cell in COLUMNS["thousandths"]]
    assert "whole" not in dict(table.reading.decimal_commas)


@pytest.mark.parametrize("price", ["R$ {}", "{} €", "{}%", "{}"])
def test_decimal_commas_beside_a_currency_or_percent_sign_tell_how_points_are_meant(price):
    table = table_of(
        ";", n=[f"1.{row}7" for row in range(10, 40)], price=[price.format(f"{row},50") for row in range(30)]
    )
    assert table.frame["n"].tolist() == [float(f"1{row}7") for row in range(10, 40)]


@pytest.mark.parametrize("separator", sorted({*SEPARATORS} - {";"}))  # beside semicolons, a comma is decimal
@pytest.mark.parametrize("others", [[f"{1029 + 9 * row:,}" for row in range(39)], ["4", "5", "3"] * 13])
def test_a_single_typing_error_does_not_tell_how_other_columns_are_meant(separator, others):
    table = table_of(separator, price=[*others, "12,5"], people=COLUMNS["thousandths"], word=["w"] * 40)
    assert table.frame["people"].tolist() == [float(cell.replace(",", "")) for cell in COLUMNS["thousandths"]]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_points_between_thousands_of_whole_numbers_are_read_in_new_rows_of_a_table_with_decimal_commas(separator):
    table = table_of(separator, amount=COLUMNS["whole"], weight=COLUMNS["sure"])
    for given_mark in SEPARATORS:
        rows = predicted(table, f'amount{given_mark}weight\n486.498{given_mark}"3,20"\n')
        assert rows.frame.to_numpy().tolist() == [[486498, 3.2]]
    mixed = table_of(separator, amount=["1.25", "2.5"], weight=["3,2", "0,5"])
    assert predicted(mixed, f'amount{separator}weight\n486.498{separator}"3,20"\n').frame["amount"].tolist() == [
        486.498
    ]


def test_a_hundredth_or_a_percent_sign_unlike_the_table_is_noted():
    signs = table_of(share=["12,5%", "3%", "99,5 %"], n=["1,5", "2,5", "3,5"])
    shares = table_of(share=["0.125", "0.03", "0.995"], n=["1.5", "2.5", "3.5"])
    (note,) = predicted(signs, "share;n\n0,125;1,5\n").notes
    assert note.startswith(
        "'share' has % in the adapter's table, where 12% is 12, and here no % and no number above 0.125."
    )
    (note,) = predicted(shares, "share;n\n12.5%;1.5\n").notes
    assert note.startswith("'12.5%' in 'share' was read as 12.5.")
    for table, row in (
        (signs, "0,5%;1,5"),
        (signs, "12,5;1,5"),
        (signs, "0;1,5"),
        (shares, "0.5;1.5"),
        (shares, "12.5;1.5"),
    ):
        assert predicted(table, f"share;n\n{row}\n").notes == ()


@pytest.mark.parametrize(
    ("unit", "other", "same"),
    [("m", "ms", False), ("V", "Vs", False), ("kW", "kWs", False), ("lb", "lbs", True), ("vote", "votes", True)],
)
def test_only_words_have_a_plural(unit, other, same):
    values, finding, _ = one(
        [*(f"{row} {unit}" for row in range(300, 395)), *(f"{row} {other}" for row in range(870, 875))]
    )
    assert values == ([*range(300, 395), *range(870, 875)] if same else None)
    assert finding.code == ("units" if same else "mixed-numbers")


@pytest.mark.parametrize(
    "unit", ["m2", "m3", "km2", "µg/m3", "l/100km", "mg/100 ml", "W m-2", "kg/m^2", "s-1", "kg CO2", "mg N2O"]
)
def test_a_unit_may_hold_digits(unit):
    values, finding, table = one([f"{row}.5 {unit}" for row in range(30)])
    assert values == [row + 0.5 for row in range(30)]
    assert (finding.code, table.reading.units) == ("units", (("n", unit),))


@pytest.mark.parametrize(
    "cells", [["3 B52", "4 B52"], ["8h30", "9h30"], ["2 x 100", "3 x 100"], ["1 A1", "1 A2", "2 B1"]]
)
def test_codes_with_digits_are_no_units(cells):
    assert one(cells * 20)[0] is None


@pytest.mark.parametrize(
    ("name", "end", "times", "severity"),
    [
        ("temp", " K", 1, "info"),
        ("T_K", "K", 1, "info"),
        ("yield kelvin", " K", 1, "info"),
        ("Conc. (mol/l)", " M", 1, "info"),
        ("yield", " K", 1000, "warning"),
        ("attempts", "K", 1000, "warning"),
        ("yield", "M", 1_000_000, "info"),
        ("yield", "k", 1000, "info"),
    ],
)
def test_a_letter_after_all_numbers_is_a_unit_if_the_name_says_so_and_else_a_warning_names_the_way(
    name, end, times, severity
):
    cells, read = [f"{row}.5{end}" for row in range(270, 300)], [row + 0.5 for row in range(270, 300)]
    values, finding, table = one(cells, name)
    assert values == pytest.approx([value * times for value in read])
    assert finding.severity == severity
    if severity == "warning":
        renamed = finding.message.split("such as ")[-1].rstrip(".").strip("'")
        assert one(cells, renamed)[0] == read
    row = predicted(table_of(**{name: cells, "n": range(30)}), f"{name};n\n3.5{end};1\n")
    assert row.frame[name].tolist() == [3.5 * times]


@pytest.mark.parametrize("others", [["$1.5K"], ["1.5M"], ["300"]])
def test_currencies_and_mixed_letters_show_thousands_whatever_the_name(others):
    assert one([*(f"{row}.5K" for row in range(30)), *others * 5], "temp")[0][3] == 3500


@pytest.mark.parametrize(
    ("letters", "plain", "times"),
    [
        ("K", [45000, 900], 1000),
        ("Kk", [5, 8], 1000),
        ("K", [31, 0], 1),
        ("KM", [], 1000),
        ("M", [850000, 700000], 1_000_000),
    ],
)
def test_plain_numbers_of_another_size_and_other_letters_show_that_a_letter_shortens(letters, plain, times):
    cells = [f"{number}{letter}" for letter in letters for number in range(30, 60)] + [f"{number}" for number in plain]
    values, finding, _ = one(cells, "followers")
    assert values[:30] + values[len(values) - len(plain) :] == [*(number * times for number in range(30, 60)), *plain]
    assert ("Choose number, under Columns, if K means thousands" in finding.message) == (times == 1)
    assert (finding.severity, "became 30,000" in finding.message) == (
        ("info", False) if times == 1 else ("warning", True)
    )


@pytest.mark.parametrize(("name", "letter"), [("temp_K", "K"), ("Temperature (K)", "K"), ("concentration", "M")])
def test_a_name_of_a_unit_decides_also_if_some_numbers_have_no_letter(name, letter):
    cells = [*(f"{number}{letter}" for number in range(290, 320)), "1", "20000"]
    assert one(cells, name)[0] == [*range(290, 320), 1, 20000]


def test_a_cell_of_thousands_of_digits_is_read_as_a_word():
    assert one(["1" * 5000, "0" * 5000, "12K"] * 9)[0] is None


@pytest.mark.parametrize("cells", ["7½ 8½ 9½", "1² 2² 3²", "1Ⅳ 2Ⅳ 3Ⅳ"])
def test_a_fraction_or_a_power_is_no_unit(cells):
    assert one(cells.split() * 9)[0] is None


LED = ("U$S {}", "Rp {}", "S/ {}", "A${}", "NT${}", "kr {}", "MXN {}")


@pytest.mark.parametrize("written", ["₺{}", "%{}", "￥{}", "Rs {}/-", "{} ₪", *LED])
def test_signs_of_other_countries_stand_beside_numbers(written):
    assert one([written.format(number) for number in (5, "7.5", 12)] * 9)[0] == [5, 7.5, 12] * 9


@pytest.mark.parametrize(
    "code", ["CAD{}", "RM {}", "TL{}", "MXN{}", "Fr {}", "RON {}", "PEN {}", "S/{}", "Rp{}", "AB${}"]
)
def test_letters_before_a_number_that_may_be_a_code_are_no_money(code):
    assert one([code.format(number) for number in (101, 102, 205)] * 9)[0] is None


@pytest.mark.parametrize("two", [("USD {}", "SEK {}"), ("Rp {}", "kr {}"), ("A${}", "C${}"), ("USD {}", "EUR {}")])
def test_a_column_of_two_currencies_is_pointed_out(two):
    _, finding, table = one([two[row % 2].format(5 + row) for row in range(40)])
    assert "mixed-signs" in [found.code for found in table.findings]


def test_grades_are_not_negative():
    assert one(["1.0-", "1.3", "1.7", "2.0", "2.3-"] * 8, "grade")[0] is None


@pytest.mark.parametrize("german", [False, True])
def test_a_minus_behind_a_number_with_decimals_makes_it_negative(german):
    amounts = [round(DRAW.uniform(-9_999, 9_999), 2) for _ in range(40)]
    cells = [f"{abs(amount):,.2f}{'-' * (amount < 0)}" for amount in amounts]
    values, finding, table = one([cell.translate(GERMAN) if german else cell for cell in cells])
    assert values == amounts
    shown = next(cell for cell in cells if "-" in cell)
    assert f"; {shown.translate(GERMAN) if german else shown} became -" in finding.message
    assert one(["1-", "2", "2+", "3-", "4"] * 9)[0] is None, "grades"


@pytest.mark.parametrize(
    ("plain", "marked", "shown"),
    [
        ("6.30", "1,234.5", "1,234.5"),
        ("5.250", "5,25", "5,25"),
        ("6.30", "1 234.5", "1 234.5"),
        ("$6.30", "$1.2M", "$1.2M"),
    ],
)
def test_the_example_of_a_format_holds_what_the_message_names(plain, marked, shown):
    assert f"such as {shown!r}" in one([*[plain] * 5, *[marked] * 9])[1].message


def test_no_comma_is_named_where_there_is_none():
    table = table_of(";", price=["6.30 €", "7.25 €"] * 9, share=["1,5"] * 18)
    assert "comma" not in next(found.message for found in table.findings if found.column == "price")
