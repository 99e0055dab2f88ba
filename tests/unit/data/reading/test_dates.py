"""Dates and times of day are read in usual notations: in a file, in a frame and in new rows, with cells missing."""

import datetime as dt
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from read_tables import one_column, said

from tabtune_core.data.encoding import FeatureEncoder, count_features
from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.reading.dates import read_texts
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.data.values import column_kind
from tabtune_core.files.plain_values import restored

MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%B-%Y", "%b %Y", "%Y %b", "%b-%y", "%Y%m")
DAYS = ("%d%b%Y", "%d %B %Y", "%A, %B %d, %Y", "%B %dth, %Y", "%Y-%b-%d", "%d-%b-%y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d")
SECONDS = (
    *("%m/%d/%Y %I:%M:%S %p", "%a %b %d %H:%M:%S %Y", "%H:%M:%S %d %b %Y", "%d %b %Y %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"),
    *("%Y%m%d %H:%M:%S", "%Y-%m-%d %H:%M:%S+00:00", "%a, %d %b %Y %H:%M:%S +0000", "%Y-%m-%d %H:%M:%S UTC"),
)
QUARTERS = ("%YQ@", "%Y-Q@", "Q@ %Y")
TIMES = ("%H:%M:%S", "%-H:%M:%S", "%I:%M:%S %p", "%I:%M:%S%p")
KINDS = {
    **dict.fromkeys((*MONTHS, *QUARTERS, *DAYS), "date"),
    **dict.fromkeys(SECONDS, "datetime"),
    **dict.fromkeys(TIMES, "time"),
}
TELLING = dt.datetime(2001, 5, 25, 13, 7, 9)
"""A moment with a time, whose day cannot be a month."""


def meant(when, style):
    """Returns ``when`` without the parts that the format ``style`` does not write."""
    if style in TIMES:
        return when.time()
    day = when if style in SECONDS else when.replace(hour=0, minute=0, second=0)
    return (
        day.replace(day=1, month=day.month - (day.month - 1) % 3 * (style in QUARTERS))
        if style in (*MONTHS, *QUARTERS)
        else day
    )


@pytest.mark.parametrize("half", [0, 1])
def test_a_date_is_the_same_in_a_file_in_new_rows_and_in_a_frame(half):
    chance, styles = random.Random(half), list(KINDS)[half::2]
    months = chance.sample(range(90 * 12), 25)
    times = [[*(chance.randint(0, most) for most in (23, 59, 59))] for _ in months]
    moments = [
        TELLING,
        *(
            dt.datetime(1970 + m // 12, m % 12 + 1, chance.randint(1, 28), *time)
            for m, time in zip(months, times, strict=True)
        ),
    ]
    gone = chance.sample(range(20), 6)
    truth = [[None if i in gone else meant(when, style) for i, when in enumerate(moments, -1)] for style in styles]
    cells = {
        style: [
            None if i in gone else when.strftime(style).replace("@", f"{(when.month + 2) // 3}")
            for i, when in enumerate(moments, -1)
        ]
        for style in styles
    }
    frame = pd.DataFrame({**cells, "x": np.arange(len(moments)) / 7}).astype(dict.fromkeys(styles, object))
    table = read_table(frame.to_csv(index=False).encode())
    kinds = {column.name: column.kind for column in table.columns}
    assert (
        kinds
        == {style: KINDS[style] for style in styles} | {"x": "number"}
        == {name: column_kind(frame[name]) for name in frame}
    )
    assert [[None if pd.isna(cell) else cell for cell in table.frame[of].astype(object)] for of in styles] == truth
    encoder, own = FeatureEncoder.fit(table.frame, kinds, None), FeatureEncoder.fit(frame, kinds, None)
    expected = encoder.transform(table.frame)
    assert expected.shape[1] == count_features(kinds, None)
    of_dates = expected.shape[1] - 1
    np.testing.assert_array_equal(np.isnan(expected).sum(axis=1), [of_dates * (value is None) for value in truth[0]])
    np.testing.assert_array_equal(own.transform(frame), expected)
    facts = ReadAs(table.reading, kinds, [*frame], "y")
    last = frame.iloc[[-1]]  # a single value may not reveal its format
    np.testing.assert_array_equal(
        encoder.transform(read_new_rows(last.to_csv(index=False).encode(), facts).frame), expected[[-1]]
    )
    np.testing.assert_array_equal(own.transform(last), expected[[-1]])


def test_texts_of_a_frame_can_be_read_in_threads_and_in_a_forked_process():
    texts = [f"{i % 28 + 1} May {2000 + i}" for i in range(50)]
    expected = [
        (dt.datetime(2000 + i, 5, i % 28 + 1) - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
        for i in range(50)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert [found for _, found in pool.map(read_texts, [texts] * 24, ["datetime"] * 24)] == [expected] * 24
    if not (child := os.fork()):
        os._exit(read_texts(texts, "datetime")[1] != expected)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "cells",
    [
        [f"{year}-{(year + 1) % 100:02d}" for year in range(2000, 2012)],
        [f"1.{i % 20}.{i % 7}" for i in range(40)],
        [f"{i % 7}-{i % 5}" for i in range(40)],
        [f"{i % 90}:{i % 60:02d}" for i in range(90)],
        [100_000 + 37 * i for i in range(40)],
        [20_000_000 + 137 * i for i in range(40)],
        [f"12 May Road {i}" for i in range(40)],
        [f"{'May' if i % 2 else 'June'} {i}" for i in range(1, 31)],
    ],
    ids=["seasons", "versions", "scores", "spans", "numbers", "long numbers", "addresses", "days of a month"],
)
def test_values_that_only_look_like_dates_are_not_dates(cells):
    frame = pd.DataFrame({"what": cells, "x": 1.5})
    kinds = {read_table(frame.to_csv(index=False).encode()).columns[0].kind, column_kind(frame["what"])}
    assert not kinds & {"date", "datetime", "time"}


@pytest.mark.parametrize(
    ("first", "style"),
    [("1948", "%d.%m.%y"), ("1955", "%b-%y"), ("1948", "%d-%b-%y %H:%M"), ("1975", "%d.%m.%y"), ("1948", "%d.%m.%Y")],
)
def test_two_digit_years_with_an_ambiguous_century_are_reported(first, style):
    born = pd.date_range(first, periods=150, freq="60D")
    frame = pd.DataFrame({"born": born.strftime(style), "x": range(150)})
    told = [one.message for one in read_table(frame.to_csv(index=False).encode()).findings if one.code == "far-years"]
    wrong = (born.year < 1969).sum() if "%y" in style else 0
    assert [f" {wrong} dates such as" in message for message in told] == [True] * bool(wrong)


@pytest.mark.parametrize("choice", [None, True, False])
def test_a_column_with_the_other_day_month_order_keeps_it_in_new_rows(choice):
    days = pd.date_range("2024-01-07", periods=60, freq="5D")
    frame = pd.DataFrame({"due": days.strftime("%m/%d/%Y"), "paid": days.strftime("%d/%m/%Y"), "x": range(60)})
    frame["open"] = "03/04/2024"
    table = read_table(frame.to_csv(index=False).encode(), ReadingChoices(day_first=choice))
    assert (table.frame["due"].tolist(), table.frame["paid"].tolist()) == ([*days], [*days])
    reading = restored(ReadingChoices, json.loads(json.dumps(asdict(table.reading))))
    kinds = {column.name: column.kind for column in table.columns}
    facts = ReadAs(reading, kinds, [*kinds], "y")
    for separator in ",;":
        rows = read_new_rows(frame.iloc[[0]].to_csv(index=False, sep=separator).encode(), facts).frame
        assert rows.iloc[0].tolist() == table.frame.iloc[0].tolist()
    assert table.frame["open"][0].month == (3 if choice is False else 4)


@pytest.mark.parametrize(
    "cells",
    [
        ["5. Mai 2020", "6. Juni 2020"],
        ["2020年5月3日", "2020年6月4日"],
        ["2024-W05", "2024-W06"],
        ["2024-01-01 10:00:00 XEST", "2024-01-02 10:00:00 of course"],
        ["2024-01-01 10:00:00 Europe/Berlin", "2024-01-02 10:00:00 Europe/Berlin"],
    ],
    ids=str,
)
def test_notations_that_are_not_supported_stay_words_in_full(cells):
    table = one_column(cells * 20)
    assert table.columns[0].kind == "category"
    assert table.frame["x"].tolist() == cells * 20


MOMENTS = {
    "one offset": (["2024-01-01T10:00:00+02:00", "2024-01-01 23:30+0200"], ["01 08:00", "01 21:30"], None),
    "mixed offsets": (["2024-01-01T10:00:00.5-0530", "2024-01-02T01:00:00 +02"], ["01 15:30", "01 23:00"], None),
    "one of two": (["2024-01-01 10:00:00 +02:00", "2024-01-01 10:00:00"], ["01 08:00", "01 10:00"], "warning"),
    "Z and UTC": (["2024-01-01T10:00:00Z", "2024-01-01 11:00 UTC"], ["01 10:00", "01 11:00"], None),
    "local times": (["2024-01-01 10:00:00", "2024-01-01T11:00"], ["01 10:00", "01 11:00"], None),
    "before and after noon": (["2024-01-01 10:00:00 PM", "2024-01-01 12:30 AM"], ["01 22:00", "01 00:30"], None),
}


@pytest.mark.parametrize(("cells", "days", "severity"), MOMENTS.values(), ids=MOMENTS)
def test_a_time_with_an_offset_is_converted_to_utc_and_one_without_beside_it_is_reported(cells, days, severity):
    table = one_column(cells)
    assert table.frame["x"].dt.strftime("%d %H:%M").tolist() == days
    told = [finding.severity for finding in table.findings if finding.code == "utc"]
    assert told == [severity] * (severity is not None)


FEW = [f"{day:02}/{month:02}/2025" for month in range(1, 13) for day in range(1, 26)]


@pytest.mark.parametrize("style", ["%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%d %b %Y"])
def test_a_few_cells_that_are_not_dates_become_missing_and_are_named(style):
    days = [pd.to_datetime(day, dayfirst=True) for day in FEW]
    table = one_column([*(day.strftime(style) for day in days), "Total", "unknown"])
    assert (table.columns[0].kind, table.frame["x"].tolist()[:-2]) == ("date", days)
    (message,) = said(table, "bad-cells")
    assert message.startswith("'x' holds dates in 300 of 302 cells; 2 other cells became missing: 'Total', 'unknown'.")


def test_a_chosen_date_column_is_read_in_the_format_of_most_cells():
    cells = ["31/01/2025", "02/28/2025", "soon", "05/12/2025", "13/12/2025"]
    table = one_column(cells, ReadingChoices(kinds=(("x", "date"),)))
    assert table.frame["x"].isna().tolist() == [False, True, True, False, False]


ORDERS = {"year": "%y-%m-%d", True: "%d-%m-%y", False: "%m-%d-%y"}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("clock", ["", " %H:%M"])
def test_an_order_that_stays_open_is_asked_about_and_the_answer_holds_in_new_rows_and_frames(order, clock):
    days = pd.to_datetime([f"20{10 + row % 3}-{row % 12 + 1}-{row % 9 + 1} 10:30" for row in range(36)])
    days = days if clock else days.normalize()
    frame = pd.DataFrame({"day": days.strftime(ORDERS[order] + clock), "y": range(36)})
    (question,) = read_table(frame.to_csv(index=False).encode()).questions
    assert {*question.options} == {"true", "false", "year"}
    table = read_table(frame.to_csv(index=False).encode(), ReadingChoices(day_first=order))
    assert (table.frame["day"] == days).all() and not table.questions
    kinds = {"day": table.columns[0].kind, "y": "number"}
    facts = ReadAs(restored(ReadingChoices, json.loads(json.dumps(asdict(table.reading)))), kinds, [*frame], "y")
    assert read_new_rows(frame.iloc[[5]].to_csv(index=False).encode(), facts).frame["day"].tolist() == [days[5]]
