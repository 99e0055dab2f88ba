"""The cells of a column: numbers, dates, words and missing cells as people write them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from read_tables import codes, one_column, said

from tabtune_core.data.datasets import SAMPLES, sample_csv
from tabtune_core.data.table import ReadingChoices, Table, read_table


def test_sodium_is_not_a_missing_value():
    table = read_table(("element,n\n" + "Na,1\nK,2\nNA,3\nna,4\n" * 9).encode())
    assert [word for word in table.frame["element"].dropna().unique()] == ["Na", "K"]


@pytest.mark.parametrize(
    ("word", "is_missing"), [("Nan", False), ("Null", False), ("NaN", True), ("nan", True), ("NULL", True)]
)
def test_a_name_that_looks_like_a_mark_is_kept_and_asked_about(word, is_missing):
    table = one_column([word, "Phrae", "Trang"] * 9)
    assert table.columns[0].missing == 9 * is_missing
    assert ((word,) in [question.options for question in table.questions]) == (not is_missing)


@pytest.mark.parametrize(
    "codes, rows",
    [
        ("EU AS NA", None),
        ("EU AS AF NA", None),
        ("EMEA LATAM APAC NA", None),
        ("Emea Latam Apac NA", None),
        ("EU AS AF NA", 30),
        ("EU AS Other NA", None),
        ("EU AS AF ?", None),
    ],
)
def test_na_among_codes_in_capitals_is_reported_as_missing(codes, rows):
    words = codes.split() * 15
    table = read_table(
        "\n".join(["region;y", *(f" {word} ;{row}" for row, word in enumerate(words))]).encode(),
        ReadingChoices(rows=rows),
    )
    told = [finding.message for finding in table.findings if finding.code == "missing-codes"]
    first = "(AF, AS, EU, ...) and" if "AF" in codes else "(APAC, EMEA, LATAM, ...) and"
    assert [first in message and f"{table.columns[0].missing} cells NA" in message for message in told] == [True] * (
        codes in ("EU AS AF NA", "EMEA LATAM APAC NA")
    )


def test_na_that_means_missing_elsewhere_is_not_reported_among_codes():
    rows = [f"{code},{row if row % 7 else 'NA'}" for row, code in enumerate(["EU", "AS", "AF", "NA"] * 15)]
    for source, marks in (
        ("\n".join(["region,y", *rows]), ()),
        ("\n".join(["region,y", *rows]).replace(",NA", ",1"), ("NA",)),
    ):
        assert not said(read_table(source.encode(), ReadingChoices(missing_marks=marks)), "missing-codes")


NUMBERS = {
    "plain": (["1", "2.5", "-3e2"], [1, 2.5, -300], set()),
    "usual marks of missing values": (
        ["1", "NA", "?", " ", "null", "-", ".", "..", r"\N", "2"],
        [1, *[np.nan] * 8, 2],
        set(),
    ),
    "infinite": (["1", "inf", "-Infinity"], [1, np.nan, np.nan], {"infinite"}),
    "thousands": (["1,234", "5", "1,234,567.5"], [1234, 5, 1234567.5], {"thousands"}),
    "thousands by blanks": (["1 234", "5", "1 234 567.5"], [1234, 5, 1234567.5], {"thousands"}),
    "thousands by blanks alone": (["1\u00a0234", "5\u202f678"], [1234, 5678], {"thousands"}),
    "thousands by apostrophes": (["1'234", "5", "6"], [1234, 5, 6], {"thousands"}),
    "points and a comma": (
        ["1.234,5", "5,25", "7", "1.234", "5,125"],
        [1234.5, 5.25, 7, 1234, 5.125],
        {"decimal-comma"},
    ),
    "points and a comma and money": (["1.234,50 €", "5,25 €", "1.234 €"], [1234.5, 5.25, 1234], {"decimal-comma"}),
    "currency before": (["$5.50", "$ 1,200.00", "-$3"], [5.5, 1200, -3], {"thousands"}),
    "currency after": (["5.50 €", "1 €", "2.5"], [5.5, 1, 2.5], {"units"}),
    "percent": (["12%", "7.5 %"], [12, 7.5], {"units"}),
    "percent and shares": (["12%", "0.5"], [12, 0.5], {"mixed-signs"}),
    "durations and plain numbers of a workbook": (["3600 s", "3.5", "2", "0"], [3600, 3.5, 2, 0], {"mixed-signs"}),
    "one duration and many plain numbers": (
        ["3600 s", *(f"{row}.5" for row in range(40))],
        [3600, *np.arange(0.5, 40)],
        {"mixed-signs"},
    ),
    "durations and no duration": (["3600 s", "1e-06 s", "-2.5 s", "0"], [3600, 1e-6, -2.5, 0], {"units"}),
    "only durations of 0": (["0 s"] * 3, [0, 0, 0], {"units"}),
    "several currencies": (["$5", "7 €", "900"], [5, 7, 900], {"mixed-signs"}),
    "a unit": (["12 km", "5.4km", "1,200 km"], [12, 5.4, 1200], {"units"}),
    "a unit of one letter": (["1.75 m", "2 m"], [1.75, 2], {"units"}),
    "a unit in another script": (["56,062元/平", "9,100元/平"], [56062, 9100], {"units"}),
    "amounts": (["$1.2M", "3.4k", "$950", "$2B", "5m"], [1.2e6, 3400, 950, 2e9, 5e6], {"units"}),
    "minutes and seconds": (["64:12", "3:05", "1:02:03.5"], [3852, 185, 3723.5], {"units"}),
    "singular and plural": (["1 vote", "12 votes"], [1, 12], {"units"}),
    "no digit before the point": (["$.05", "$1,200.00", "-$.5"], [0.05, 1200, -0.5], {"thousands"}),
    "no digit before the comma": (["1.234,50 €", ",05 €", "-,5 €"], [1234.5, 0.05, -0.5], {"decimal-comma"}),
    "money before": (["Rs. 500", "Rs 1,200"], [500, 1200], {"thousands"}),
    "accounting brackets": (["(1,234.50)", "7", "$(12)", "($ 3)"], [-1234.5, 7, -12, -3], {"thousands"}),
    "accounting brackets and percent": (["(4)%", "5%"], [-4, 5], {"units"}),
    "a unit after blanks between thousands": (["12 345 kg", "7 kg"], [12345, 7], {"units"}),
    "a decimal comma after a zero": (["0,864", "1,375", "0,125"], [0.864, 1.375, 0.125], {"decimal-comma"}),
    "a zero before thousands": (["0,012.50", "1,234.50"], [12.5, 1234.5], {"thousands"}),
    "a zero among thousands": (["0,500", "1,210,000"], [500, 1210000], {"thousands"}),
    "thousands filled with zeros": (["001,000", "001,059"], [1000, 1059], {"thousands"}),
    "a currency twice": (["$1 USD", "$2 USD"], [1, 2], {"units"}),
    "other minus signs": (["\u22125", "\u20130.5", "3"], [-5, -0.5, 3], {"units"}),
    "other minus signs and a unit": (["\u22125 °C", "1.5 °C"], [-5, 1.5], {"units"}),
    "lakhs and crores": (
        ["1,23,456", "12,34,56,789.5", "99,999", "500"],
        [123456, 123456789.5, 99999, 500],
        {"thousands"},
    ),
    "footnotes": (["1,234[2]", "5*", "7"], [1234, 5, 7], {"marks"}),
    "laboratory flags": (["0.83 H", "4.5 L", *map(str, range(30))], [0.83, 4.5, *range(30)], {"marks"}),
    "limits of detection": (["<0.5", ">100", *map(str, range(30))], [0.5, 100, *range(30)], {"marks"}),
    "hours and minutes": (["2h 50m", "19h", "5m", "1h05min"], [170, 1140, 5, 65], {"units"}),
    "powers of ten": (["1,5e-05", "2,25", "1,5E+3"], [1.5e-05, 2.25, 1500], {"decimal-comma"}),
    "powers of ten with a unit": (["1.5e3 kg", "20 kg"], [1500, 20], {"units"}),
    "exact to the last integer": (["9007199254740992", "1", "2"], [2**53, 1, 2], set()),
}


@pytest.mark.parametrize(("cells", "values", "found"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_people_write_them(cells, values, found):
    table = one_column(cells)
    np.testing.assert_array_equal(table.frame["x"].to_numpy(dtype=float), values)
    assert codes(table) - {"many-missing", "constant", "one-value", "id-like"} == found
    known = ReadingChoices.from_json(json.loads(json.dumps(replace(table.reading, kinds=(("x", "number"),)).to_json())))
    alone = [one_column([cell], known, 1).frame["x"].iloc[0] for cell in cells]
    np.testing.assert_array_equal(np.array(alone, dtype=float), values)


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        (["007", "12", "13"], "category", {"kept-as-text"}),
        (["9007199254740993", "12", "13"], "category", {"kept-as-text"}),
        (["12345678901234567890", "12345678901234567891", "3"], "category", {"kept-as-text"}),
        ([f"{row:05}" for row in range(0, 90_000, 1000)] + ["abroad"], "text", {"kept-as-text", "id-like"}),
        (["€1,5M", "€2,5M"], "number", {"units"}),
        (["1_000", "2", "3"], "category", set()),
        (["(1)", "(2)", "(1)"], "category", set()),
        (["<=50K", ">50K", ">50K"], "category", set()),
        (["1", "2", "3", ">3", "2"], "category", set()),
        (["12 A", "14 C", "12 A"], "category", set()),
        ([*(f"{row:05}" for row in range(0, 90_000, 1000)), "02000*"], "text", {"kept-as-text", "id-like"}),
        (["2 g", "500 mg", "500 mg"], "category", set()),
        (["yes", "no", "yes"], "boolean", set()),
        (["True", "False", ""], "boolean", set()),
        (["0", "1", "1"], "number", set()),
        ([f"a long story number {place}" for place in range(30)], "text", {"free-text"}),
        ([f"order-{place}" for place in range(30)], "text", {"id-like"}),
        (["2025-01-31", "2025-02-01", ""], "date", {"date"}),
        (["31.01.2025", "01.02.2025", ""], "date", {"date"}),
        (["01/31/2025 10:30", "02/01/2025 11:00", ""], "datetime", {"date"}),
        (["31/01/25", "01/02/25", ""], "date", {"date"}),
        (["5 Jan 2025", "6 Feb 2025", ""], "date", {"date"}),
        (["2024", "2025", "2026"], "number", set()),
        (["", "NA", "?"], "category", {"all-missing"}),
    ],
)
def test_each_kind_is_recognised_and_no_value_is_lost(cells, kind, found):
    table = one_column(cells)
    assert table.columns[0].kind == kind
    assert codes(table) - {"duplicate-rows"} - ({"id-like"} - found) == found
    kept_as_words = kind in ("category", "text", "boolean") and found != {"all-missing"}
    assert not kept_as_words or table.frame["x"].dropna().tolist() == [cell for cell in cells if cell]


def test_durations_are_told_in_seconds():
    assert said(one_column(["0 s"] * 9), "units") == [
        "Numbers and the unit 's' in 'x', such as '0 s', were read as numbers."
    ]
    assert said(one_column(["3600 s", *map(str, range(1, 40))]), "mixed-signs") == [
        "'x' mixes durations in seconds, such as '3600 s', and plain numbers, such as '1'; all were read as numbers. "
        "Convert them to one unit if they differ in it."
    ]


def test_one_infinite_value_is_reported_in_the_singular():
    assert "'x' holds 1 infinite value, read as missing." in said(one_column(["1", "inf", "2"]), "infinite")[0]


def test_a_leading_zero_far_down_the_file_is_kept():
    table = read_table(b"id,y\n" + b"".join(b"%d,%d\n" % (row, row % 3) for row in range(30_000)) + b"00010,1\n")
    assert table.frame["id"].iloc[-1] == "00010"


MOMENTS = {
    "one offset": (["2024-01-01T10:00:00+02:00", "2024-01-01 23:30+0200"], ["01 08:00", "01 21:30"], "info"),
    "mixed offsets": (
        ["2024-01-01T10:00:00+02:00", "2024-01-01T10:00:00.5-0530", "2024-01-02T01:00:00 +02"],
        None,
        "info",
    ),
    "one of three offsets": (
        ["2024-01-01 10:00:00 +02:00", "2024-01-01 10:00:00", "2024-01-02"],
        ["01 08:00", "01 10:00", "02 00:00"],
        "warning",
    ),
    "Z and UTC": (["2024-01-01T10:00:00Z", "2024-01-01 11:00:00 UTC"], ["01 10:00", "01 11:00"], "info"),
    "a zone by its name": (
        ["2024-01-01 10:00:00 Europe/Berlin", "2024-01-01 11:00:00 GMT"],
        ["01 09:00", "01 11:00"],
        "info",
    ),
    "in summer": (["2024-07-01T10:00:00AEDT", "2024/07/01 10:00 PM EDT"], ["30 23:00", "02 02:00"], "info"),
    "in summer in Europe": (["2024-07-01 10:00 CEST", "2024-07-01 10:00 BST"], ["01 08:00", "01 09:00"], "info"),
    "local times": (["2024-01-01 10:00:00", "2024-01-01T11:00"], ["01 10:00", "01 11:00"], None),
    "digits and a colon, as PVGIS writes": (["20240101:1000", "20240101:1110"], ["01 10:00", "01 11:10"], None),
    "before and after noon": (["2024-01-01 10:00:00 PM", "2024-01-01 12:30:00 AM"], ["01 22:00", "01 00:30"], None),
}


@pytest.mark.parametrize(("cells", "days", "severity"), MOMENTS.values(), ids=MOMENTS)
def test_a_time_with_an_offset_is_converted_to_utc_and_that_is_reported(cells, days, severity):
    table = one_column(cells)
    days = days or ["01 08:00", "01 15:30", "01 23:00"]
    assert table.frame["x"].dt.strftime("%d %H:%M").tolist() == days
    assert [finding.severity for finding in table.findings if finding.code == "utc"] == [severity] * (
        severity is not None
    )


@pytest.mark.parametrize(
    "cell", ["2024-01-01 10:00:00 XEST", "2024-01-01 10:00:00 of course", "2024-01-01 10:00+99:00"]
)
def test_a_time_followed_by_other_text_is_not_a_date(cell):
    assert one_column([cell, "2024-01-02 10:00:00"]).columns[0].kind == "category"
    table = one_column([cell, "2024-01-02 10:00:00"], ReadingChoices(kinds=(("x", "date"),)))
    assert table.frame["x"].isna().tolist() == [True, False]
    assert "bad-cells" in codes(table)


DAYS = [f"{day:02}/{month:02}/2025" for month in range(1, 13) for day in range(1, 26)]


@pytest.mark.parametrize("style", ["%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%d %b %Y"])
def test_a_few_cells_that_are_not_dates_become_missing_and_are_reported(style):
    days = [pd.to_datetime(day, dayfirst=True) for day in DAYS]
    cells = [day.strftime(style) for day in days] + ["Total", "unknown"]
    table = one_column(cells)
    assert table.columns[0].kind == "date"
    assert table.frame["x"].tolist()[:-2] == days
    (message,) = said(table, "bad-cells")
    assert message.startswith("'x' holds dates in 300 of 302 cells; 2 other cells became missing: 'Total', 'unknown'.")


def test_a_chosen_date_column_is_read_in_the_format_of_most_cells():
    table = one_column(
        ["31/01/2025", "02/28/2025", "soon", "05/12/2025", "13/12/2025"], ReadingChoices(kinds=(("x", "date"),))
    )
    assert table.frame["x"].isna().tolist() == [False, True, True, False, False]
    assert one_column(["soon", "late"], ReadingChoices(kinds=(("x", "date"),))).frame["x"].isna().all()


def test_words_among_dates_are_asked_about_as_missing_marks():
    cells = [*DAYS[:60], *["not yet"] * 4]
    asked = one_column(cells)
    assert asked.columns[0].kind == "text"
    assert ("mixed-dates", ("not yet",)) in [(one.code, one.options) for one in asked.questions]
    assert one_column(cells, ReadingChoices(missing_marks=("not yet",))).columns[0].kind == "date"


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    some.sampled_from(["-1", "-9", "-99", "-200", "-999", "9999", "-999.0", "unknown", "None"]),
    some.integers(3, 30),
    some.integers(5, 60),
    some.sampled_from([1, 10, 0.1]),
)
def test_a_code_for_missing_is_asked_about_once_for_all_columns_and_the_answer_is_used(code, coded, others, unit):
    regular = [f"w{i % 3}" if code.isalpha() else f"{(i % 20 + 40) * unit:.10g}" for i in range(others)]
    cells = [*regular, *[code] * coded]
    file = pd.DataFrame({"first": cells, "second": cells[::-1], "y": range(len(cells))}).to_csv(index=False).encode()
    asked = read_table(file)
    assert [(one.field, one.options) for one in asked.questions] == [("missing_marks", (code,))]
    assert [column.missing for column in asked.columns] == [0, 0, 0]
    answered = read_table(file, ReadingChoices(missing_marks=(code,)))
    assert [column.missing for column in answered.columns] == [coded, coded, 0]
    assert not answered.questions
    without = pd.DataFrame({"first": regular, "y": range(others)}).to_csv(index=False).encode()
    assert not read_table(without).questions


@pytest.mark.parametrize(
    ("regular", "coded"),
    [
        ([-10, -9, 3.5, 12], [-999]),
        ([1, 2, 3, 4, 5], [-98, -99]),
        ([0, 4, 8, 10], [77, 88, 99]),
        ([12, 14, 83], [997, 998, 999]),
        ([41_000, 52_500, 48_000], [-666_666_666]),
        ([2.5, 2.7, 31], [9.9e37]),
        ([1, 5, 1200], [-32_768]),
        ([1, 99, 50.5], [999.9]),
    ],
    ids=str,
)
def test_several_codes_and_those_of_programs_are_asked_about(regular, coded):
    (question,) = one_column([*regular * 9, *coded * 3]).questions
    assert question.field == "missing_marks"
    assert set(map(float, question.options)) == set(coded)


@pytest.mark.parametrize("name", SAMPLES)
def test_clean_tables_raise_no_question(name):
    table = read_table(sample_csv(name))
    assert not table.questions
    assert not codes(table) & {"date", "units", "sentinel-missing", "missing-words", "header-lines"}


@pytest.mark.parametrize(
    "cells",
    [
        [-1, 0, 1],
        [-1, 1, 2, 3],
        [-10, 0, 10, 20],
        [95, 97, 99],
        [0, 1, 9],
        [-20, -7, 3, 8],
        [-20, -10, 0, 5, 10, 30],
        [*range(-10, 11)],
    ],
    ids=str,
)
def test_numbers_near_the_others_are_not_codes_for_missing(cells):
    assert not one_column(cells * 9).questions


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@settings(max_examples=20)
@given(some.data())
def test_points_between_thousands_are_never_read_as_decimal_points_without_a_question(separator, data):
    numbers = data.draw(
        some.lists(some.integers(0, 2_000_000), min_size=8, max_size=40).filter(
            lambda drawn: min(drawn) < 1000 <= max(drawn)
        )
    )
    mark, share = (
        data.draw(some.sampled_from(["{}", "{} €", "{} km"])),
        data.draw(some.sampled_from(["x", "0,375", "9,5"])),
    )
    written = [mark.format(f"{number:,}".replace(",", ".")) for number in numbers]
    rows = [(cell, share, "town") for cell in [*written, "-"]]
    content = pd.DataFrame(rows, columns=["people", "share", "kind"]).to_csv(index=False, sep=separator).encode()
    table = read_table(content)
    wrong = table.frame["people"].tolist()[:-1] != numbers
    assert wrong == any(question.field == "decimal_commas" for question in table.questions)
    for own in (table.reading, ReadingChoices()):
        choices = ReadingChoices.from_json(
            replace(own, decimal_commas=(*own.decimal_commas, ("people", True))).to_json()
        )
        answered = read_table(content, choices)
        assert answered.frame["people"].tolist()[:-1] == numbers
        assert not any(question.field == "decimal_commas" for question in answered.questions)


@pytest.mark.parametrize(
    "cells", [["0.607", "1.652"], ["1.652", "12.5"], ["1.652", "2.718"], ["1652", "1.652"]], ids=str
)
def test_decimal_points_raise_no_question(cells):
    assert not one_column(cells * 9).questions


@settings(max_examples=20)
@given(
    some.lists(some.integers(1000, 2_000_000), min_size=8, max_size=40),
    some.sampled_from(["{:,}", "${:,}", "{:,} km", "-${:,}", "{:,}[2]"]),
)
def test_commas_between_thousands_are_never_read_as_decimal_commas_without_a_warning(numbers, style):
    def content(size):
        return ("price;size\n" + "".join(f"{style.format(number)};{size}\n" for number in written)).encode()

    written = numbers
    table, sign = read_table(content("63")), -1 if style[0] == "-" else 1
    numbers = [sign * number for number in numbers]
    for read in (table, read_table(content("63"), replace(table.reading, day_first=True))):
        assert ("comma" in codes(read)) == (read.frame["price"].tolist() != numbers)
    answered = read_table(content("63"), replace(table.reading, decimal_commas=(("price", False),)))
    assert (answered.frame["price"].tolist(), "comma" in codes(answered)) == (numbers, False)
    assert "comma" not in codes(read_table(content("9,5")))


def test_points_are_not_asked_about_beside_sure_decimal_points_and_in_typed_files():
    assert read_table(b"people;share\n607;1\n1.652;2\n").questions
    assert not read_table(b"people;share\n607;0.5\n1.652;2\n").questions
    assert not read_table(b"far;share\n607 km.;1\n16 km.;2\n").questions, "a point of the unit"
    typed = b'[{"people": 607, "kind": "a"}, {"people": 1.652, "kind": "b"}]'
    assert not read_table(typed).questions
    answered = read_table(b"people;kind\n607;a\n1.652;b\n", ReadingChoices(decimal_commas=(("people", True),)))
    assert answered.frame["people"].tolist() == [607, 1652]
    assert read_table(typed, answered.reading).frame["people"].tolist() == [607, 1.652], (
        "the table in another file, with typed numbers"
    )


def test_dates_that_stand_for_none_are_asked_about():
    days = [f"20{10 + row % 14}-03-{row % 28 + 1:02}" for row in range(60)]
    asked = one_column([*days, *["9999-12-31"] * 9, "1900-01-01"])
    assert [(one.code, one.options) for one in asked.questions] == [("sentinel-missing", ("1900-01-01", "9999-12-31"))]
    answered = one_column(
        [*days, *["9999-12-31"] * 9, "1900-01-01"], ReadingChoices(missing_marks=("9999-12-31", "1900-01-01"))
    )
    assert (answered.columns[0].kind, answered.columns[0].missing, answered.questions) == ("date", 10, ())
    assert not one_column([*[f"19{row:02}-03-05" for row in range(1, 99)], "1900-01-01"]).questions


def test_numbers_that_differ_only_in_zeros_at_their_end_are_reported():
    assert "zeros-at-end" in codes(one_column(["1.1", "1.10", "1.2"] * 9))
    assert "zeros-at-end" not in codes(one_column(["1.5", "1.0", "1"] * 9))


def test_the_example_of_a_column_with_signs_has_one():
    assert "such as '4+'," in next(
        finding.message for finding in one_column(["0", "3", "4+"] * 9).findings if finding.code == "units"
    )


def test_whole_numbers_with_powers_of_ten_may_be_codes():
    assert "bare-powers" in codes(one_column(["1E14", "3E5", "27"] * 9))
    assert "bare-powers" not in codes(one_column(["1E14", "2.5", "27"] * 9)) | codes(
        one_column(["1e+14", "3e5", "27"] * 9)
    )


def test_words_among_numbers_are_asked_about_and_the_answer_makes_the_column_numeric():
    cells = [*map(str, range(40)), "unknown", "unknown"]
    asked = one_column(cells)
    assert [(question.code, question.options) for question in asked.questions] == [("mixed-numbers", ("unknown",))]
    answered = one_column(cells, ReadingChoices(missing_marks=("unknown",)))
    assert (answered.columns[0].kind, answered.columns[0].missing) == ("number", 2)


MAY_MEAN_MISSING = (
    "Unknown n.a. n/d (blank) [Null] <none> Sans_réponse No_response не_указано k.A. – — / -- ... #REF! #DIV/0!"  # noqa: RUF001
)


@pytest.mark.parametrize("mark", MAY_MEAN_MISSING.replace("_", "\xa0").split(" "))
def test_marks_among_words_are_asked_about_and_the_answer_makes_them_missing(mark):
    mark = mark.replace("\xa0", " ")
    cells = [*["red", "green", "blue"] * 9, mark, mark]
    assert [question.options for question in one_column(cells).questions if question.field == "missing_marks"] == [
        (mark,)
    ]
    assert one_column(cells, ReadingChoices(missing_marks=(mark,))).columns[0].missing == 2


@pytest.mark.parametrize(
    "words",
    [
        "+ ++ - +-",
        "-- - 0 + ++",
        "none some",
        "A+ A B",
        "* ** *** n",
        "Naples Unknownland Nonesuch",
        "/a -b .c",
        "refused paid open",
    ],
)
def test_words_with_a_meaning_are_not_asked_about(words):
    assert "missing-words" not in codes(one_column(words.split() * 9))


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["- 715,73 €", "921,44 €", "- 12,10 €"], [-715.73, 921.44, -12.1]),
        (["- 7.5", "3.25", "+ 1.5"], [-7.5, 3.25, 1.5]),
        (["75,36K", "1,5M", "40,93K"], [75_360, 1_500_000, 40_930]),
    ],
)
def test_signs_with_a_space_and_amounts_with_a_decimal_comma_are_read(cells, read):
    table = one_column(cells * 9)
    assert table.frame["x"].tolist() == read * 9


@pytest.mark.parametrize("marks", [("", " CR"), (" Dr", " Cr"), (" S", " H"), (" C", " D")])
def test_marks_of_credit_and_debit_are_pointed_out_and_never_dropped(marks):
    table = one_column([f"1,{100 + row}.50{marks[row % 2]}" for row in range(40)])
    assert "credits" in codes(table)
    assert table.columns[0].kind != "number"
    assert "credits" not in codes(one_column([f"1,{100 + row}.50{' H' * (row % 2)}" for row in range(40)]))


def word_column(different: int, rows: int) -> Table:
    lines = "".join(f"w{row % different}x,{row % 7}\n" for row in range(rows))
    return read_table(f"make,n\n{lines}".encode())


@pytest.mark.parametrize(
    ("different", "rows", "kind"),
    [(22, 201, "category"), (40, 160, "category"), (60, 160, "text"), (20, 40, "category")],
)
def test_repeated_words_are_a_category_and_others_are_text(different, rows, kind):
    assert word_column(different, rows).columns[0].kind == kind


def test_a_category_of_many_repeated_words_is_reported():
    told = said(word_column(22, 201), "recurring-words")
    assert told == [
        "'make' has 22 different words in 201 rows and is read as a category, as they recur. Nothing to do."
    ]
    assert not said(word_column(20, 201), "recurring-words")


def numbers_with(*bad: str, rows: int = 700) -> Table:
    cells = [*(str(row / 8) for row in range(rows)), *bad]
    return read_table(("n,word\n" + "".join(f"{cell},{'kl'[row % 2]}\n" for row, cell in enumerate(cells))).encode())


def test_a_few_bad_cells_leave_a_numeric_column_numeric_and_are_reported():
    table = numbers_with("1.2.3", "see note")
    (message,) = said(table, "bad-cells")
    assert (table.columns[0].kind, table.columns[0].missing, table.questions) == ("number", 2, ())
    assert message.startswith(
        "'n' holds numbers in 700 of 702 cells; 2 other cells became missing: '1.2.3', 'see note'."
    )
    (message,) = said(one_column(["2.5 km/h", *(f"{row} km" for row in range(90))]), "units")
    assert "such as '0 km', were read" in message


def test_a_few_bad_cells_leave_a_column_of_decimal_commas_numeric_too():
    """The cells include a row of units below the names and a value below the limit of detection."""
    cells = ["mg/l", *(f"1.{row:03d},5" for row in range(200)), "<5,0", "1.2,3"]
    table = read_table(("n;word\n" + "".join(f"{cell};{'kl'[row % 2]}\n" for row, cell in enumerate(cells))).encode())
    assert (table.columns[0].kind, table.columns[0].missing) == ("number", 2)
    assert [question.code for question in table.questions] == ["units-row"]
    assert table.frame["n"].iloc[1:4].tolist() == [1000.5, 1001.5, 1002.5]
    said = {finding.code: finding.message for finding in table.findings if finding.column == "n"}
    assert "2 other cells became missing: '1.2,3', 'mg/l'" in said["bad-cells"]
    assert "such as '<5,0', were read" in said["marks"]


def test_words_among_decimal_commas_are_asked_about_and_a_chosen_number_column_keeps_its_numbers():
    text = (
        "n;word\n" + "".join(f"{cell};k\n" for cell in [*(f"{row},5" for row in range(40)), "n.b.", "n.b."])
    ).encode()
    asked = read_table(text)
    assert [(question.code, question.options) for question in asked.questions] == [("mixed-numbers", ("n.b.",))]
    answered = read_table(text, ReadingChoices(missing_marks=("n.b.",)))
    forced = read_table(text, ReadingChoices(kinds=(("n", "number"),)))
    assert [(table.columns[0].kind, table.columns[0].missing) for table in (answered, forced)] == [
        ("number", 2),
        ("number", 2),
    ]


@pytest.mark.parametrize(
    ("other", "values"), [("9,5", [950, 95_000, 250_000]), ("9.5", [950, 95, 250]), ("9", [950, 95, 250])]
)
def test_a_point_separates_thousands_if_other_columns_have_decimal_commas(other, values):
    cells = ["950", "95.000", "250.000"]
    table = read_table(("n;m\n" + "".join(f"{cell};{other}\n" for cell in cells)).encode())
    assert table.frame["n"].tolist() == values
    plain = read_table(b"n;m\n1.25;9,5\n2.5;8,5\n").reading  # a column without thousands has none in new rows either
    assert read_table(b"n;m\n1.234;9,5\n", replace(plain, kinds=(("n", "number"),)), fewest=1).frame["n"].tolist() == [
        1.234
    ]


@pytest.mark.parametrize("bad", [("V58", "E11.5"), tuple(f"word {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")])
def test_a_column_with_codes_or_many_bad_cells_stays_text(bad):
    assert numbers_with(*bad).columns[0].kind != "number"
    table = numbers_with(*(f"{row}g" for row in range(26)), rows=150)
    assert (table.columns[0].kind, "26, such as '0g'" in said(table, "mixed-numbers")[0]) == ("text", True)


def test_decimals_are_no_ids_whatever_their_name():
    lines = "".join(f"{row / 997:.3f},{row % 7}\n" for row in range(1, 300))
    assert "id-like" not in codes(read_table(f"index,n\n{lines}".encode()))


def test_a_number_that_names_rows_is_an_id_even_if_some_repeat():
    lines = "".join(f"{500_000 + 37 * (row % 284)},{row % 7}\n" for row in range(300))
    found = [codes(read_table(f"{header},n\n{lines}".encode())) for header in ("hospital_number", "weight")]
    assert ["id-like" in one for one in found] == [True, False]


def test_words_that_differ_only_in_capitals_or_blanks_are_reported():
    cells = ["Yes", "yes", "yes", "no", "New  York", "New York", "caf\u00e9", "cafe\u0301", "other"] * 3
    (message,) = said(one_column(cells), "alike")
    assert "'yes' and 'Yes'; 'New  York' and 'New York'; 'cafe\u0301' and 'caf\u00e9'" in message
    assert not said(one_column(["yes", "no", "maybe", " yes"] * 3), "alike")


def test_a_dash_means_missing_unless_the_column_has_a_plus():
    table = read_table(b"a,rh,b\n" + b"1,+,-\n-,-,2\n3,,4\n" * 20)
    assert table.frame["rh"].iloc[:3].fillna("").tolist() == ["+", "-", ""]
    assert table.frame[["a", "b"]].isna().sum().tolist() == [20, 20]
    alone = read_table(b"a,rh,b\n1,-,-\n2,-,3\n", ReadingChoices.from_json(table.reading.to_json())).frame
    assert (alone["rh"].tolist(), alone["b"].isna().tolist()) == (["-", "-"], [True, False])
