"""Rows of a table give the same numbers when they are read alone, with any separator."""

import json
import random
from functools import cache

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.findings import ReadAs, ReadingChoices
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import read_table

DRAW = random.Random(0)
STYLES = {
    "thousands": lambda: f"{DRAW.randint(0, 99_999):,}",
    "points": lambda: f"{DRAW.randint(0, 99_999):,}.{DRAW.randint(0, 99):02}",
    "commas": lambda: f"{DRAW.randint(0, 9_999_999) / 100:,.2f}".translate(str.maketrans(",.", ".,")),
    "long commas": lambda: f"{DRAW.random() * 1000:.3f}".replace(".", ","),
    "long points": lambda: f"{DRAW.random() * 1000:.3f}",
    "dollars": lambda: f"${DRAW.randint(0, 99_999):,}",
    "euros": lambda: f"{DRAW.randint(0, 99_999):,} €".replace(",", "."),
    "amounts": lambda: f"${DRAW.randint(1, 99) / 10}{DRAW.choice('KMB')}",
    "2024": lambda: f"{DRAW.randint(0, 1000) / 10} %".replace(".", ","),
    "units": lambda: f"{DRAW.randint(1, 99)} km",
    "footnotes": lambda: f"{DRAW.randint(1, 9_999):,}{DRAW.choice(['', '', '[1]', '*'])}",
    "clocked": lambda: f"{DRAW.randint(0, 90)}:{DRAW.randint(0, 59):02}",
    "days": lambda: str(pd.Timedelta(DRAW.randint(0, 300_000), "s")),
    "spans": lambda: DRAW.choice(["{}h", "{}m", "{}h {}min", "{} s", "{} days"]).format(
        DRAW.randint(1, 9), DRAW.randint(1, 9)
    ),
    "ISO": lambda: DRAW.choice(["PT{}H", "PT{}M{}S", "P{}DT{}H"]).format(DRAW.randint(1, 9), DRAW.randint(1, 9)),
}


@pytest.mark.parametrize("separator", [",", ";"])
def test_new_rows_are_read_like_rows_of_the_table(separator):
    frame = pd.DataFrame({style: [draw() for _ in range(60)] for style, draw in STYLES.items()})
    table = read_table(frame.to_csv(index=False, sep=separator).encode())
    assert {column.kind for column in table.columns} == {"number"}
    reading = ReadingChoices.from_json(json.loads(json.dumps(table.reading.to_json())))
    facts = ReadAs(reading, dict.fromkeys(frame, "number"), [*frame], "y")
    for place in range(0, 60, 13):
        rows, given = frame.iloc[[place]], DRAW.choice(",;\t|")
        written = (
            rows.to_csv(index=False, sep=given).encode()
            if place % 2
            else rows.to_csv(index=False, sep=given, quoting=1).encode()
        )
        np.testing.assert_array_equal(read_new_rows(written, facts).frame, table.frame.iloc[[place]], given)


DURATIONS = {
    "spans": lambda span: f"{span.days} days {span.seconds // 3600}h {span.seconds // 60 % 60}min",
    "clock": lambda span: f"{span.days * 24 + span.seconds // 3600}:{span.seconds // 60 % 60:02}:00",
    "ISO": lambda span: f"P{span.days}DT{span.seconds // 60}M",
    "pandas": str,
    "minutes": lambda span: f"{span.total_seconds() / 60:.0f} min",
    "hours": lambda span: f"{span.total_seconds() / 3600!r} h",
}


@pytest.mark.parametrize("style", [*DURATIONS, "Parquet"])
def test_durations_of_new_rows_have_the_unit_of_the_table_in_whatever_style(style):
    spans = pd.Series(pd.to_timedelta([DRAW.randint(61, 9_999) for _ in range(30)], unit="min"), name="trip")
    typed = spans.to_frame().assign(y="a")
    written = typed.assign(trip=spans.map(DURATIONS.get(style, str)))
    table = read_table(typed.to_parquet() if style == "Parquet" else written.to_csv(index=False).encode())
    facts = ReadAs(table.reading, {"trip": "number", "y": "category"}, ["trip"], "y")
    every = pd.concat([spans[:4].map(write) for write in DURATIONS.values()]).to_frame().assign(y="a")
    expected = table.frame["trip"][:4].tolist()
    for rows in (typed[:4].to_parquet(), every.to_csv(index=False).encode()):
        read = read_new_rows(rows, facts)
        assert read.notes == ()
        np.testing.assert_allclose(read.frame["trip"], expected * (len(read.frame) // 4), rtol=1e-12)
    assert np.isnan(read_new_rows(b"trip,y\n2:33,a\n", facts).frame["trip"][0]) == (
        style not in ("clock", "ISO", "pandas")
    )


def test_durations_that_no_unit_fits_are_missing_and_those_of_earlier_versions_are_told():
    def rows(**known):
        facts = ReadAs(
            ReadingChoices(delimiter=",", header=True, **known), {"trip": "number", "y": "category"}, ["trip"], "y"
        )
        return read_new_rows(b"trip,y\n1:20:00,a\n1h 20m,b\n7,c\n", facts)

    plain, far = rows(), rows(units=(("trip", "km"),))
    np.testing.assert_array_equal(plain.frame["trip"], [4800, np.nan, 7])
    np.testing.assert_array_equal(far.frame["trip"], [np.nan, np.nan, 7])
    assert plain.notes[0].startswith("Durations such as '1:20:00' in 'trip' were read as seconds.")
    assert far.notes == (
        "Cells of 'trip' that are not numbers below 1e100, alone or with the unit 'km', were read as missing.",
    )


def test_durations_of_typed_files_need_no_recorded_unit():
    seconds = [90, -2, 0, 1e-6, 9e9, np.nan]
    rows = pd.DataFrame({"trip": pd.to_timedelta(seconds, unit="s")})
    like = ReadAs(ReadingChoices(), {"trip": "number", "y": "category"}, ["trip"], "y")
    read = read_new_rows(rows.to_parquet(), like, strict=True)
    np.testing.assert_allclose(read.frame["trip"], seconds, rtol=1e-15)
    assert read.notes == ()


@pytest.mark.parametrize(
    ("more", "expected"), [("", [14, 12, *[np.nan] * 4]), ("1h 5m", [14, 12, 300, 1 / 12, np.nan, 153])]
)
def test_m_means_minutes_only_in_a_column_with_other_units_of_time(more, expected):
    table = read_table(f"x,y\n{''.join(f'{row} m,a{chr(10)}' for row in range(40))}{more or '7 m'},b\n".encode())
    like = ReadAs(table.reading, {"x": "number", "y": "category"}, ["x"], "y")
    read = read_new_rows(b"x,y\n14,a\n12 m,a\n5 h,a\n5 s,a\n2:33,a\n02:33:00,a\n", like)
    np.testing.assert_allclose(read.frame["x"], expected)
    assert len(read.notes) == 1 and "were read as missing" in read.notes[0]


def test_a_power_in_a_unit_may_be_raised_or_not():
    table = read_table(b"size,y\n" + "".join(f"{row} m²,a\n" for row in range(9)).encode())
    facts = ReadAs(table.reading, {"size": "number", "y": "category"}, ["size"], "y")
    assert read_new_rows("size,y\n80 m2,a\n70 m²,b\n".encode(), facts).frame["size"].tolist() == [80, 70]


WRITTEN = {"; ,": (";", ","), "; .": (";", "."), ", .": (",", "."), "tab ,": ("\t", ","), "tab .": ("\t", ".")}


def weights(rows):
    draw = np.random.default_rng(rows)
    grams = np.round(
        draw.uniform(0.5, 9, rows), 3
    )  # nearly all have three digits after the mark, so they may be thousands
    return pd.DataFrame(
        {"grams": grams, "length": np.round(draw.uniform(5, 60, rows), 1), "of": draw.choice([*"xy"], rows)}
    )


def as_file(frame, style):
    separator, decimal = WRITTEN[style]
    return frame.to_csv(index=False, sep=separator, decimal=decimal).encode()


@cache
def read_like(style):
    reading = read_table(as_file(weights(60), style)).reading
    return ReadAs(reading, {"grams": "number", "length": "number", "of": "category"}, ["grams", "length", "of"], "y")


@pytest.mark.parametrize("style", WRITTEN)
@pytest.mark.parametrize("rows", [1, 12])
def test_rows_with_any_separator_and_decimal_mark_give_the_same_numbers(style, rows):
    like, frame = read_like(style), weights(rows)
    for other in WRITTEN:
        read = read_new_rows(as_file(frame, other), like)
        np.testing.assert_array_equal(read.frame[["grams", "length"]], frame[["grams", "length"]], other)
        assert read.notes == ()


@pytest.mark.parametrize(
    ("style", "cells", "expected", "noted"),
    [
        ("; ,", "1.234;5;x", 1234, False),
        ("; .", "1.234;5;x", 1.234, False),
        ("; ,", "1.234;5.5;x", 1.234, False),
        ("; ,", "1.234;5.5 %;x", 1.234, True),
        ("; ,", "1.234;5e-05;x", 1234, False),
        ("; ,", "1.234;1,234.5;x", 1.234, False),
        ("; ,", "1.234;5.5;x\n1;5,5;y", 1234, True),
        ("; .", "1.234;5.5;x\n1;5,5;y", 1.234, True),
        ("; .", "1.234;5,5;x", 1234, False),
        ("; .", "1.234;5.5;2,5", 1.234, False),
        ("tab .", "7,234\t0,500\tx", 7.234, False),
    ],
)
def test_only_a_sure_mark_in_a_column_of_numbers_changes_how_new_numbers_are_read(style, cells, expected, noted):
    read = read_new_rows(
        f"grams;length;of\n{cells}\n".replace(";", "\t" * ("\t" in cells) or ";").encode(), read_like(style)
    )
    assert (read.frame["grams"][0], bool(read.notes)) == (expected, noted)
    said = (
        "decimal points, such as '5.5', and decimal commas, such as '5,5', unlike",
        "'5.5 %' in 'length' was read as 5.5",
    )
    assert all(any(map(note.__contains__, said)) for note in read.notes)


@pytest.mark.parametrize("typed", ["3,5", "0,5", "1,2"])
def test_a_single_typing_error_does_not_change_how_the_other_numbers_are_read(typed):
    incomes = [1029 + 99 * row for row in range(300)]
    table = "income,age,y\n" + "".join(
        f'"{income:,}",{row % 60 + 18},{"ab"[row % 2]}\n' for row, income in enumerate(incomes)
    )
    facts = ReadAs(read_table(table.encode()).reading, {"income": "number", "age": "number"}, ["income", "age"], "y")
    read = read_new_rows(f'{table}"45,300","{typed}",a\n'.encode(), facts)
    assert read.frame["income"].tolist() == [*incomes, 45300]
    assert [note[:44] for note in read.notes] == [f"The rows have decimal commas, such as '{typed}',"]


@pytest.mark.parametrize(("more", "noted"), [("1;2", False), ("1;2.5", True)])
def test_a_table_with_both_marks_keeps_them_in_rows_and_doubt_is_noted(more, noted):
    table = b"weight;rate\n" + b"".join(b"%d,5;%d.5\n" % (row, row) for row in range(30))
    facts = ReadAs(read_table(table).reading, {"weight": "number", "rate": "number"}, ["weight", "rate"], "y")
    assert dict(facts.reading.decimal_commas) == {"weight": True}
    same = read_new_rows(b"weight;rate\n2,5;3.5\n1.234;1\n", facts)
    assert (same.frame["weight"].tolist(), same.notes) == ([2.5, 1234], ())
    doubtful = read_new_rows(f"weight;rate\n1.234;1\n{more}\n".encode(), facts)
    assert (doubtful.frame["weight"][0], bool(doubtful.notes)) == (1234, noted)


@pytest.mark.parametrize("unit", ["kg", "g", "kW", "ml", "cm", "lb", "°C", "CC", "months", "%", "L"])
def test_a_number_with_another_unit_is_missing_not_a_number_with_a_mark(unit):
    table = read_table(b"x;y\n" + "".join(f"{row * 7 % 97 + 3} {unit};{'ab'[row % 2]}\n" for row in range(60)).encode())
    facts = ReadAs(table.reading, {"x": "number", "y": "category"}, ["x"], "y")
    others = [other for other in ("g", "lb", "W", "l", "L", "F", "CC") if other != unit]
    cells = [f"5 {unit}", "5", *(f"1.5 {other}" for other in others)]
    read = read_new_rows(("x;y\n" + "".join(f"{cell};\n" for cell in cells)).encode(), facts)
    np.testing.assert_array_equal(read.frame["x"], [5, 5, *[np.nan] * len(others)])


def test_notes_and_totals_below_new_rows_are_reported():
    lines = "".join(f"town {row},{row},{row / 2}\n" for row in range(20))
    table = read_table(f"who,a,b\n{lines}".encode())
    facts = ReadAs(table.reading, {"a": "number", "b": "number"}, ["a", "b"], "y")
    assert not [note for note in read_new_rows(f"who,a,b\n{lines}".encode(), facts).notes if "row" in note]
    rows = read_new_rows(f"who,a,b\n{lines}Total,190,95\nSource: us\n".encode(), facts)
    assert len(rows.frame) == 22 and [note[:9] for note in rows.notes] == [
        "Line 23 h",
        "The last ",
        "The last ",
        "Not used,",
    ]
    assert not [note for note in read_new_rows(b"who,a,b\nTotal,1,2\n", facts).notes if "total" in note]


def test_comments_among_new_rows_are_noted():
    facts = ReadAs(read_table(b"a,b\n1,x\n2,y\n").reading, {"a": "number", "b": "category"}, ["a", "b"], "y")
    rows = read_new_rows(b"a,b\n1,x\n#red\n2,y\n", facts)
    assert (len(rows.frame), rows.notes) == (2, ("Line 3 starts with '#' and was read as a comment.",))
