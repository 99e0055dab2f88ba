"""Numbers as people write them: one decimal mark, one currency sign or unit a column; a finding says how they were read."""

import json
import random
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from read_tables import codes, one_column, said

from tabtune_core.data.findings import ReadAs, ReadingChoices
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import read_table
from tabtune_core.files.plain_values import restored

NUMBERS = {
    "plain": (["1", "2.5", "-3e2", "9007199254740992"], [1, 2.5, -300, 2**53], set()),
    "usual marks of missing values": (["1", "NA", "?", " ", "null", "-", ".", "..", "2"], [1, *[np.nan] * 7, 2], set()),
    "one comma among points": ([*["2.5"] * 9, "1,5"], [*[2.5] * 9, 1.5], {"number-format"}),
    "infinite": (["1", "inf", "-Infinity"], [1, np.nan, np.nan], {"bad-cells"}),
    "thousands": (["1,234", "5", "1,234,567.5"], [1234, 5, 1234567.5], {"number-format"}),
    "thousands by blanks": (["1 234", "5\u202f678", "1 234 567.5"], [1234, 5678, 1234567.5], {"number-format"}),
    "thousands by apostrophes": (["1'234", "5", "6"], [1234, 5, 6], {"number-format"}),
    "a decimal comma": (["1.234,5", "5,25", "7", "1.234", ",5"], [1234.5, 5.25, 7, 1234, 0.5], {"number-format"}),
    "a decimal comma after a zero": (["0,864", "1,375", "0,125"], [0.864, 1.375, 0.125], {"number-format"}),
    "powers of ten": (["1,5e-05", "2,25", "1,5E+3"], [1.5e-05, 2.25, 1500], {"number-format"}),
    "points, a comma and money": (["1.234,50 €", "5,25 €", "1.234 €"], [1234.5, 5.25, 1234], {"number-format"}),
    "currency before": (["$5.50", "$ 1,200.00", "-$3", "$-4"], [5.5, 1200, -3, -4], {"number-format"}),
    "currency after": (["5.50 €", "1 €", "2.5€"], [5.5, 1, 2.5], {"number-format"}),
    "percent": (["12%", "7.5 %"], [12, 7.5], {"number-format"}),
    "percent and shares": (["12%", "0.5"], [12, 0.5], {"number-format"}),
    "a unit": (["12 km", "5.4km", "1,200 km"], [12, 5.4, 1200], {"number-format"}),
    "a unit with a power": (["1.75 m²", "2 m²"], [1.75, 2], {"number-format"}),
    "a unit with a stroke": (["7,5 l/100km", "8 l/100km"], [7.5, 8], {"number-format"}),
    "singular and plural": (["1 vote", "12 votes"], [1, 12], {"number-format"}),
    "other minus signs and a unit": (["\u22125 °C", "\u20131.5 °C"], [-5, -1.5], {"number-format"}),
    "minutes and seconds": (["64:12", "3:05", "1:02:03.5"], [3852, 185, 3723.5], {"number-format"}),
    "hours": (["02:08:51", "3:15:00", "02:59:59.5"], [7731, 11700, 10799.5], {"number-format"}),
    "a sign and a blank": (["- 7.5", "3.25", "+ 1.5"], [-7.5, 3.25, 1.5], {"number-format"}),
}


@pytest.mark.parametrize(("cells", "values", "found"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_read_in_a_table_and_alone_in_new_rows(cells, values, found):
    table = one_column(cells)
    np.testing.assert_array_equal(table.frame["x"].to_numpy(dtype=float), values)
    assert codes(table) - {"many-missing", "constant", "one-value", "id-like"} == found
    known = restored(ReadingChoices, json.loads(json.dumps(asdict(replace(table.reading, kinds=(("x", "number"),))))))
    alone = [one_column([cell], known, 1).frame["x"].iloc[0] for cell in cells]
    np.testing.assert_array_equal(np.array(alone, dtype=float), values)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["007", "12", "13"], "kept-as-text"),
        (["9007199254740993", "12", "13"], "kept-as-text"),
        (["001,000", "001,059", "002,000"], None),
        (["344xx", "345xx", "344xx"], None),
        (["1_000", "2", "3"], None),
        (["(1)", "(2)", "(1)"], None),
        (["<=50K", ">50K", ">50K"], None),
        (["1.5M", "2.5M", "300K"], None),
        (["12,34,567", "1,00,000", "5,67,890"], None),
        (["5.00 CR", "6.00 DR", "7.00 CR"], None),
        (["12 A", "14 C", "12 A"], None),
        (["2 g", "500 mg", "500 mg"], None),
        (["$5", "7 €", "$9"], None),
        (["3 B52", "4 B52"], None),
        (["8h30", "9h30"], None),
        (["7½", "8½"], None),
        (["1.0-", "1.3", "2.3-"], None),
        (["1.2.3", "1.2.4"], None),
        (["٥٣", "٥٤", "٥٥"], None),  # noqa: RUF001
    ],
)
def test_codes_and_notations_that_are_not_supported_stay_words_in_full(cells, found):
    table = one_column(cells * 8)
    assert table.columns[0].kind in ("category", "text")
    assert table.frame["x"].tolist() == cells * 8
    assert found is None or found in codes(table)


def test_a_unit_that_some_numbers_lack_is_a_warning():
    (finding,) = (one for one in one_column(["12%", "0.5", "0"] * 9).findings if one.code == "number-format")
    assert finding.severity == "warning"
    assert "9 without '%'" in finding.message
    assert one_column(["12 km", "7"] * 9).columns[0].kind == "category"


def numbers_with(*bad, rows=700):
    return one_column([*(str(row / 8) for row in range(rows)), *bad])


def test_a_few_bad_cells_leave_a_column_numeric_and_are_named():
    table = numbers_with("1.2.3", "see note")
    (message,) = said(table, "bad-cells")
    assert (table.columns[0].kind, table.columns[0].missing, table.questions) == ("number", 2, ())
    assert message.startswith("'x' holds numbers in 700 of 702 cells; 2 other cells became missing: '1.2.3', ")
    (message,) = said(one_column(["2.5 km/h", *(f"{row} km" for row in range(90))]), "bad-cells")
    assert "missing: '2.5 km/h'." in message


@pytest.mark.parametrize("bad", [("V58", "E11.5"), tuple(f"word {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")])
def test_a_column_with_codes_or_many_bad_cells_stays_text(bad):
    assert numbers_with(*bad).columns[0].kind != "number"
    table = numbers_with(*(f"{row}kk" for row in range(26)), rows=150)
    assert (table.columns[0].kind, "26, such as '0kk'" in said(table, "kept-as-text")[0]) == ("text", True)


@pytest.mark.parametrize("cells", [[*map(str, range(40)), "n.b.", "n.b."], [*(f"{n},5" for n in range(40)), "n.b."]])
def test_words_among_numbers_are_asked_about_and_the_answer_makes_the_column_numeric(cells):
    asked = one_column([*cells, "n.b."])
    assert [(one.field, one.options) for one in asked.questions] == [("missing_marks", ("n.b.",))]
    answered = one_column(cells, ReadingChoices(missing_marks=("n.b.",)))
    forced = one_column(cells, ReadingChoices(kinds=(("x", "number"),)))
    assert [table.columns[0].missing for table in (answered, forced)] == [cells.count("n.b.")] * 2
    assert "missing: 'n.b.'" in said(forced, "bad-cells")[0]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@settings(max_examples=5, deadline=None)
@given(some.data())
def test_points_between_thousands_are_never_read_as_decimal_points_without_a_question(separator, data):
    numbers = data.draw(
        some.lists(some.integers(0, 2_000_000), min_size=8, max_size=40).filter(lambda all: min(all) < 1000 <= max(all))
    )
    mark = data.draw(some.sampled_from(["{}", "{} €", "{} km"]))
    share = data.draw(some.sampled_from(["x", "0,375", "9,5"]))
    written = [mark.format(f"{number:,}".replace(",", ".")) for number in numbers]
    rows = [(cell, share, "town") for cell in [*written, "-"]]
    content = pd.DataFrame(rows, columns=["people", "share", "kind"]).to_csv(index=False, sep=separator).encode()
    table = read_table(content)
    wrong = table.frame["people"].tolist()[:-1] != numbers
    assert wrong == any(question.field == "decimal_commas" for question in table.questions)
    for own in (table.reading, ReadingChoices()):
        answered = read_table(content, replace(own, decimal_commas=(*own.decimal_commas, ("people", True))))
        assert answered.frame["people"].tolist()[:-1] == numbers
        assert not any(question.field == "decimal_commas" for question in answered.questions)


@settings(max_examples=5, deadline=None)
@given(
    some.lists(some.integers(1000, 999_999), min_size=8, max_size=40),
    some.sampled_from(["{:,}", "${:,}", "{:,} km", "-${:,}"]),
)
def test_commas_between_thousands_are_never_read_as_decimal_commas_without_a_warning(numbers, style):
    content = ("price;size\n" + "".join(f"{style.format(number)};63\n" for number in numbers)).encode()
    sign = -1 if style[0] == "-" else 1
    table = read_table(content)
    (finding,) = (one for one in table.findings if one.code in ("number-format", "units", "number-format"))
    wrong = table.frame["price"].tolist() != [sign * number for number in numbers]
    assert ("--thousands-comma" in finding.message) == wrong == (finding.severity == "warning")
    answered = read_table(content, replace(table.reading, decimal_commas=(("price", False),)))
    assert answered.frame["price"].tolist() == [sign * number for number in numbers]


DRAW = random.Random(0)
COLUMNS = {
    "sure": [f"{DRAW.randint(1, 99)},{DRAW.randint(10, 99)}" for _ in range(40)],
    "thousandths": [f"{DRAW.randint(1, 99)},{DRAW.randint(100, 999)}" for _ in range(40)],
    "points": [f"{DRAW.randint(1, 99)}.{DRAW.randint(100, 999)}" for _ in range(40)],
    "whole": [str(DRAW.randint(1, 9_999)) for _ in range(40)],
}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_sure_decimal_commas_tell_how_the_other_columns_are_meant_and_each_can_be_changed_back(separator):
    content = pd.DataFrame(COLUMNS).to_csv(index=False, sep=separator).encode()
    table = read_table(content)
    assert dict(table.reading.decimal_commas) == dict.fromkeys(COLUMNS, True)
    for name in COLUMNS:
        assert table.frame[name].tolist() == [float(cell.replace(".", "").replace(",", ".")) for cell in COLUMNS[name]]
    told = {one.column for one in table.findings if one.code == "number-format"}
    assert told == {"sure", "thousandths", "points"}
    changed = dict(table.reading.decimal_commas) | {"thousandths": False, "points": False}
    back = read_table(content, ReadingChoices(decimal_commas=tuple(changed.items())))
    assert back.frame["thousandths"].tolist() == [float(cell.replace(",", "")) for cell in COLUMNS["thousandths"]]
    assert back.frame["points"].tolist() == [*map(float, COLUMNS["points"])]
    assert back.frame["sure"].equals(table.frame["sure"])


WRITTEN = {"; ,": (";", ","), "; .": (";", "."), ", .": (",", "."), "tab ,": ("\t", ","), "tab .": ("\t", ".")}


def weights(rows):
    draw = np.random.default_rng(rows)
    grams = np.round(draw.uniform(0.5, 9, rows), 3)  # nearly all may have thousands
    return pd.DataFrame({"grams": grams, "length": draw.uniform(5, 9, rows).round(1), "of": draw.choice([*"xy"], rows)})


def as_file(frame, style):
    separator, decimal = WRITTEN[style]
    return frame.to_csv(index=False, sep=separator, decimal=decimal).encode()


@cache
def read_like(style):
    reading = read_table(as_file(weights(60), style)).reading
    return ReadAs(reading, {"grams": "number", "length": "number", "of": "category"}, ["grams", "length", "of"], "y")


@pytest.mark.parametrize(("style", "rows"), [*zip(WRITTEN, (1, 12, 12, 1, 1), strict=True)])
def test_rows_with_any_separator_and_decimal_mark_give_the_same_numbers(style, rows):
    like, frame = read_like(style), weights(rows)
    for other in WRITTEN:
        read = read_new_rows(as_file(frame, other), like)
        np.testing.assert_array_equal(read.frame[["grams", "length"]], frame[["grams", "length"]], other)
        assert read.notes == ()


@pytest.mark.parametrize(
    ("style", "cells", "expected"),
    [
        ("; ,", "1.234;5;x", 1234),
        ("; .", "1.234;5;x", 1.234),
        ("; ,", "1.234;5.5;x", 1.234),
        ("; ,", "1.234;1,234.5;x", 1.234),
        ("; ,", "1.234;5.5;x\n1;5,5;y", 1234),
        ("; .", "1.234;5.5;x\n1;5,5;y", 1.234),
        ("; .", "1.234;5,5;x", 1234),
        ("; .", "1.234;5.5;2,5", 1.234),
        ("tab .", "7,234\t0,500\tx", 7.234),
    ],
)
def test_only_sure_marks_in_columns_of_numbers_change_how_new_numbers_are_read(style, cells, expected):
    read = read_new_rows(
        f"grams;length;of\n{cells}\n".replace(";", "\t" * ("\t" in cells) or ";").encode(), read_like(style)
    )
    assert read.frame["grams"][0] == expected


@pytest.mark.parametrize("unit", ["kg", "kW", "°C", "CC", "months", "%", "$", "l/100km"])
def test_a_number_with_another_unit_is_missing_and_told(unit):
    table = read_table(b"x;y\n" + "".join(f"{row * 7 % 97 + 3} {unit};{'ab'[row % 2]}\n" for row in range(60)).encode())
    assert table.reading.units == (("x", unit.replace("months", "month")),)
    facts = ReadAs(table.reading, {"x": "number", "y": "category"}, ["x"], "y")
    others = [other for other in ("g", "lb", "W", "€", "F", "CC") if other != unit]
    cells = [f"5 {unit}", "5", *(f"1.5 {other}" for other in others)]
    read = read_new_rows(("x;y\n" + "".join(f"{cell};\n" for cell in cells)).encode(), facts)
    np.testing.assert_array_equal(read.frame["x"], [5, 5, *[np.nan] * len(others)])
    assert any("read as missing" in note for note in read.notes)


def test_new_rows_with_decimal_commas_in_one_column_keep_the_points_of_another():
    table = read_table(b'mark,price\n12.5,"0,4"\n8.021,"3,70"\n-4.79,"-8,56"\n')
    like = ReadAs(table.reading, {column.name: column.kind for column in table.columns}, ["mark", "price"], "y")
    rows = read_new_rows(b'mark,price\n8.021,"0,40"\n-4.790,"1,43"\n', like).frame
    assert rows.to_numpy().tolist() == [[8.021, 0.4], [-4.79, 1.43]]
