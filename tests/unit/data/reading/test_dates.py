"""Dates and times of day are read in usual notations: in a file, in a frame and in new rows, with cells missing."""

import datetime as dt
import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.encoding import FeatureEncoder, count_features
from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.reading.dates import read_texts
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.data.values import column_kind

MONTHS = ("%Y-%m", "%Y/%m", "%m/%Y", "%B-%Y", "%b %Y", "%Y %b", "%b-%y", "%YM%m", "%Y%m")
DAYS = (
    "%d%b%Y",
    "%d %B %Y",
    "%A, %B %d, %Y",
    "%B %dth, %Y",
    "%Y-%b-%d",
    "%d-%b-%y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%Y%m%d",
    "%m%d%Y",
    "%d%m%Y",
)
SECONDS = (
    *(
        "%m/%d/%Y %I:%M:%S %p",
        "%a %b %d %H:%M:%S %Y",
        "%d %b %Y %H:%M:%S",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y%m%d%H%M%S",
        "%Y%m%d %H:%M:%S",
        "%Y%m%dT%H%M%SZ",
    ),
    *(
        "%d%b%Y:%H:%M:%S",
        "%d.%m.%Y %H:%M:%S Uhr",
        "Mo, %d.%m.%Y %H:%M:%S",
        "%Y-%m-%d %H:%M:%S+00:00",
        "%a, %d %b %Y %H:%M:%S +0000",
    ),
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
    assert [
        [None if pd.isna(value) else value for value in table.frame[style].astype(object)] for style in styles
    ] == truth
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


@pytest.mark.parametrize("kind", ["date", "datetime", "time", "number"])
def test_a_chosen_kind_reports_how_many_cells_it_could_not_read(kind):
    file = pd.DataFrame({"what": [f"word {i}" for i in range(30)], "x": 1.5}).to_csv(index=False).encode()
    table = read_table(file, ReadingChoices(kinds=(("what", kind),)))
    assert table.columns[0].missing == 30
    assert any(re.search(r"\b30\b.*missing", finding.message) for finding in table.findings if finding.column == "what")


@pytest.mark.parametrize(
    ("first", "style"),
    [("1948", "%d.%m.%y"), ("1955", "%b-%y"), ("1948", "%d-%b-%y %H:%M"), ("1975", "%d.%m.%y"), ("1948", "%d.%m.%Y")],
)
def test_two_digit_years_with_an_ambiguous_century_are_reported(first, style):
    born = pd.date_range(first, periods=150, freq="60D")
    frame = pd.DataFrame({"born": born.strftime(style), "x": range(150)})
    told = [
        finding.message
        for finding in read_table(frame.to_csv(index=False).encode()).findings
        if finding.code == "far-years"
    ]
    wrong = (born.year < 1969).sum() if "%y" in style else 0
    assert [f": {wrong} dates such as" in message for message in told] == [True] * bool(wrong)


@pytest.mark.parametrize("choice", [None, True, False])
def test_a_column_with_the_other_day_month_order_keeps_it_in_new_rows(choice):
    days = pd.date_range("2024-01-07", periods=60, freq="5D")
    frame = pd.DataFrame({"due": days.strftime("%m/%d/%Y"), "paid": days.strftime("%d/%m/%Y"), "x": range(60)})
    frame["open"] = "03/04/2024"
    table = read_table(frame.to_csv(index=False).encode(), ReadingChoices(day_first=choice))
    assert (table.frame["due"].tolist(), table.frame["paid"].tolist()) == ([*days], [*days])
    reading = ReadingChoices.from_json(json.loads(json.dumps(table.reading.to_json())))
    kinds = {column.name: column.kind for column in table.columns}
    facts = ReadAs(reading, kinds, [*kinds], "y")
    for separator in ",;":
        rows = read_new_rows(frame.iloc[[0]].to_csv(index=False, sep=separator).encode(), facts).frame
        assert rows.iloc[0].tolist() == table.frame.iloc[0].tolist()
    assert table.frame["open"][0].month == (3 if choice is False else 4)


MONTHS_ABROAD = {
    "German": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "Austrian, short": "Jän Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez",
    "French": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "French, short": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "Spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "Italian": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "Portuguese": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "Dutch": "januari februari maart april mei juni juli augustus september oktober november december",
    "Polish": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "Russian": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "Turkish": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",  # noqa: RUF001
    "Czech": "ledna února března dubna května června července srpna září října listopadu prosince",
    "Swedish": "januari februari mars april maj juni juli augusti september oktober november december",
    "Hungarian": "január február március április május június július augusztus szeptember október november december",
    "Danish": "januar februar marts april maj juni juli august september oktober november december",
    "Norwegian": "januar februar mars april mai juni juli august september oktober november desember",
    "Finnish": "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta "
    "lokakuuta marraskuuta joulukuuta",
    "Romanian": "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie decembrie",
    "Ukrainian": "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня",
    "Catalan": "gener febrer març abril maig juny juliol agost setembre octubre novembre desembre",
    "Indonesian": "Januari Februari Maret April Mei Juni Juli Agustus September Oktober November Desember",
    "Indonesian, short": "Jan Feb Mar Apr Mei Jun Jul Agt Sep Okt Nov Des",
    "Slovak": "január február marec apríl máj jún júl august september október november december",
    "Slovak, after a day": "januára februára marca apríla mája júna júla augusta septembra októbra novembra decembra",
    "Slovenian": "januarja februarja marca aprila maja junija julija avgusta septembra oktobra novembra decembra",
    "Serbian, after a day": "januara februara marta aprila maja juna jula avgusta septembra oktobra novembra decembra",
    "Romanian, short": "ian feb mar apr mai iun iul aug sept oct noi dec",
    "Serbian": "januar februar mart april maj jun jul avgust septembar oktobar novembar decembar",
    "Bulgarian": "януари февруари март април май юни юли август септември октомври ноември декември",
    "Greek": "Ιανουαρίου Φεβρουαρίου Μαρτίου Απριλίου Μαΐου Ιουνίου Ιουλίου Αυγούστου Σεπτεμβρίου Οκτωβρίου "
    "Νοεμβρίου Δεκεμβρίου",
}


@pytest.mark.parametrize("style", ["{0}. {1} {2}", "{2}. {1} {0}.", "{0} de {1} de {2}", "{1} {0}, {2}", "{1} {2}"])
def test_month_names_of_other_languages_are_read_beside_a_four_digit_year(style):
    days = pd.date_range("1999-12-01", periods=60, freq="MS" if "{0}" not in style else "33D")
    named = {name: months.split() for name, months in MONTHS_ABROAD.items()}
    frame = pd.DataFrame(
        {
            name: [style.format(day.day, months[day.month - 1], day.year) for day in days]
            for name, months in named.items()
        }
    )
    for no_month in ("set", "Junior", "Maine", "Marathon"):
        frame[no_month] = [f"{no_month} {place + (10 if no_month == 'set' else 1960)}" for place in range(60)]
    table = read_table(frame.to_csv(index=False).encode())
    assert [column.kind for column in table.columns] == ["date"] * len(MONTHS_ABROAD) + ["text"] * 4
    assert all((table.frame[name] == days).all() for name in MONTHS_ABROAD)


@pytest.mark.parametrize(
    ("dates", "numbers", "others", "told"), [(30, 20, 0, True), (30, 20, 20, False), (20, 30, 0, False)]
)
def test_numbers_among_dates_are_reported_if_all_other_cells_are_dates(dates, numbers, others, told):
    days = [str(day.date()) for day in pd.date_range("2020-01-01", periods=dates)]
    cells = [*days, *range(18_017, 18_017 + numbers), *(f"soon {row}" for row in range(others))]
    table = read_table(
        pd.DataFrame({"day": cells, "y": range(len(cells))}).sample(frac=1, random_state=0).to_csv(index=False).encode()
    )
    said = [finding.message for finding in table.findings if finding.code == "mixed-dates"]
    assert table.columns[0].kind == "text"
    years = read_table(
        ("day,y\n" + "".join(f"{cell},{row}\n" for row, cell in enumerate([*days, *["2020", "2021"] * 9]))).encode()
    )
    assert not [finding for finding in years.findings if "Excel" in finding.message]
    start = (
        "'day' holds dates in 30 cells and numbers, such as '18017', in 20; it is read as text. Excel stores "
        "dates as such"
    )
    assert [message.startswith(start) for message in said] == [True] * told


@pytest.mark.parametrize("style", ["%Y年%-m月%-d日", "%Y년 %-m월 %-d일", "%H:%M %d.%m.%Y", "%H:%M:%S, %d %B %Y"])
def test_dates_in_signs_of_east_asia_and_times_before_dates_are_read(style):
    days = pd.date_range("2019-12-01 14:26:05", periods=60, freq="33h").strftime(style)
    table = read_table(pd.DataFrame({"day": days, "x": range(60)}).to_csv(index=False, sep=";").encode())
    assert table.frame["day"].dt.strftime(style).tolist() == days.tolist()


@pytest.mark.parametrize(
    ("zone", "hours"), [("GMT-3", -3), ("GMT", 0), ("GMT+5:30", 5.5), ("EST", -5), ("UTC+02:30", 2.5)]
)
@pytest.mark.parametrize("style", ["%Y/%m/%d %I:%M:%S %p", "%Y/%m/%d %I:%M %p", "%Y-%m-%d %H:%M:%S"])
def test_a_time_with_a_named_offset_is_its_moment_in_utc(style, zone, hours):
    days = pd.date_range("2021-08-10", periods=60, freq="33h")
    table = read_table(
        pd.DataFrame({"day": days.strftime(f"{style} {zone}"), "x": range(60)}).to_csv(index=False).encode()
    )
    assert table.frame["day"].tolist() == [*(days - pd.Timedelta(hours, "h"))]


@pytest.mark.parametrize(
    ("first", "told"), [("1399-05-12", True), ("2564-03-04", True), ("1899-05-12", False), ("1997-05-12", False)]
)
def test_dates_of_another_calendar_are_pointed_out(first, told):
    days = np.datetime64(first) + np.arange(60)
    table = read_table(pd.DataFrame({"day": np.datetime_as_string(days), "x": range(60)}).to_csv(index=False).encode())
    assert ["calendar" in finding.message for finding in table.findings if finding.code == "calendar"] == [True] * told


ORDERS = {"year": "%y-%m-%d", True: "%d-%m-%y", False: "%m-%d-%y"}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("step", "clock"), [("D", ""), ("9D", " %H:%M")])
def test_the_order_of_two_digit_years_follows_from_all_cells(order, shuffled, step, clock):
    days = pd.date_range("2012-11-20 10:30" if clock else "2012-11-20", periods=90, freq=step)
    days = days[np.random.default_rng(0).permutation(len(days))] if shuffled else days
    frame = pd.DataFrame(
        {"day": days.strftime(ORDERS[order] + clock), "iso": days.strftime("%Y-%m-%d"), "y": range(len(days))}
    )
    table = read_table(frame.to_csv(index=False).encode())
    assert (table.frame["day"] == days).all() and not table.questions
    assert ("year-first" in {finding.code for finding in table.findings}) == (order == "year")
    kinds = {column.name: column.kind for column in table.columns}
    facts = ReadAs(ReadingChoices.from_json(json.loads(json.dumps(table.reading.to_json()))), kinds, [*frame], "y")
    for row in (0, 19):  # one cell does not tell the order
        assert read_new_rows(frame.iloc[[row]].to_csv(index=False).encode(), facts).frame["day"].tolist() == [days[row]]
    own = FeatureEncoder.fit(frame, kinds, "y")
    assert own == FeatureEncoder.from_json(json.loads(json.dumps(own.to_json())))
    alone = np.concatenate([own.transform(frame.iloc[[row]]) for row in (0, 19)])
    np.testing.assert_array_equal(alone, FeatureEncoder.fit(table.frame, kinds, "y").transform(table.frame)[[0, 19]])


@pytest.mark.parametrize("seed", range(12))
def test_few_dates_in_the_future_are_not_read_year_first_without_a_question(seed):
    chance = random.Random(seed)
    days = [dt.date(2020, 1, 1) + dt.timedelta(chance.randrange(3_650)) for _ in range(8)]
    table = read_table(("day,y\n" + "".join(f"{day:%d.%m.%y},{row}\n" for row, day in enumerate(days))).encode())
    asked = [question for question in table.questions if question.field == "day_first"]
    assert asked or table.frame["day"].dt.date.tolist() == days


def test_an_order_of_two_digit_years_that_stays_open_is_asked_about_and_the_answer_is_used():
    cells = ["05/04/03", "06/07/02", "01/02/08"]
    frame = pd.DataFrame({"day": cells, "y": range(3)}).to_csv(index=False).encode()
    (question,) = read_table(frame).questions
    assert question.options == ("true", "false", "year") and question.message.endswith(
        "Choose month first or year first if that is meant."
    )
    for order, style in ORDERS.items():
        table = read_table(frame, ReadingChoices(day_first=order))
        assert (
            table.frame["day"].dt.strftime(style).tolist() == [cell.replace("/", "-") for cell in cells]
            and not table.questions
        )


@pytest.mark.parametrize("zero", ["", "0"])
@pytest.mark.parametrize("most", [2_400, 3_600, 4_500, 9_000, 20_000])
def test_minutes_and_seconds_beside_hours_are_no_times_of_day(most, zero):
    lengths = np.random.default_rng(most).integers(61, most, 200)
    texts = [
        f"{h}:{m:02}:{s:02}" if h else f"{m:{zero}{2 if zero else ''}}:{s:02}"
        for h, m, s in zip(*clock(lengths), strict=True)
    ]
    texts[70] = "oops"
    table = read_table(b"length,y\n" + b"".join(b"%s,%d\n" % (text.encode(), row) for row, text in enumerate(texts)))
    assert np.delete(table.frame["length"].to_numpy(), 70).tolist() == np.delete(lengths, 70).tolist()
    assert [finding.code for finding in table.findings if finding.column == "length"] == ["bad-cells", "units"]
    new = read_new_rows(
        b"length,\n4:05,\n", ReadAs(table.reading, {"length": "number", "y": "number"}, ["length"], "y")
    )
    assert new.frame["length"].tolist() == [245.0]


@pytest.mark.parametrize(("beyond", "kind"), [(1, "time"), (30, "number")])
def test_hours_worked_of_more_than_a_day_are_no_times_of_day_and_one_slip_among_times_is_a_slip(beyond, kind):
    texts = [f"{5 + row % 17}:{row * 7 % 60:02}:57" for row in range(200)]
    texts[:beyond] = [f"{25 + row}:06:58" for row in range(beyond)]
    table = read_table(b"worked,y\n" + b"".join(b"%s,%d\n" % (text.encode(), row) for row, text in enumerate(texts)))
    assert (table.columns[0].kind, table.columns[0].missing) == (kind, 1 if kind == "time" else 0)
    if kind == "number":
        assert table.frame["worked"][0] == 25 * 3600 + 6 * 60 + 58


@pytest.mark.parametrize("odd", ["09:30:15", "0:00:30", "5:06:07"])
def test_one_time_with_seconds_does_not_make_durations_of_times_of_day(odd):
    texts = [*(f"{8 + row % 13}:{row * 7 % 60:02}" for row in range(99)), odd]
    table = read_table(b"at,y\n" + b"".join(b"%s,%d\n" % (text.encode(), row) for row, text in enumerate(texts)))
    assert table.columns[0].kind == "time"


@pytest.mark.parametrize("seconds", [0, 1, 60])
def test_times_of_day_may_lack_their_seconds(seconds):
    times = np.random.default_rng(seconds).integers(6 * 3600, 20 * 3600, 200)
    texts = [
        f"{h:02}:{m:02}" if row % 60 >= seconds else f"{h:02}:{m:02}:{s:02}"
        for row, (h, m, s) in enumerate(zip(*clock(times), strict=True))
    ]
    table = read_table(b"at,y\n" + b"".join(b"%s,%d\n" % (text.encode(), row) for row, text in enumerate(texts)))
    assert (table.columns[0].kind, table.frame["at"][199]) == ("time", dt.time.fromisoformat(texts[199]))


def clock(seconds):
    return seconds // 3600, seconds // 60 % 60, seconds % 60


@pytest.mark.parametrize(
    "style", ["%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d %b %Y %H:%M", "%Y-%m-%d %H:%M"]
)
def test_midnight_may_be_the_end_of_a_day(style):
    moments = pd.date_range("2024-01-30 01:00", periods=60, freq="h")
    cells = [
        (day - pd.Timedelta(days=1)).strftime(style).replace(" 00:", " 24:") if day.hour == 0 else day.strftime(style)
        for day in moments
    ]
    table = read_table(pd.DataFrame({"t": cells, "y": range(60)}).to_csv(index=False).encode())
    assert table.columns[0].kind == "datetime"
    assert (table.frame["t"] == moments).all()
    rows = read_new_rows(
        pd.DataFrame({"t": cells[:30], "z": 1}).to_csv(index=False).encode(),
        ReadAs(table.reading, {"t": "datetime"}, ["t"], "y"),
    )
    assert (rows.frame["t"] == moments[:30]).all()


def test_milliseconds_behind_a_colon_are_read():
    moments = pd.date_range("2024-01-13", periods=60, freq="h") + pd.Timedelta(milliseconds=955)
    frame = pd.DataFrame({"ms": moments.strftime("%m/%d/%Y %H:%M:%S:955"), "y": range(60)})
    table = read_table(frame.to_csv(index=False).encode())
    assert table.columns[0].kind == "datetime"
    assert (table.frame["ms"] == moments).all()


def test_zones_by_name_stay_on_the_clock_and_offsets_of_mails_become_utc():
    moments = pd.date_range("2024-01-01 13:05:07", periods=40, freq="25h")
    frame = pd.DataFrame({"mailed": moments.strftime("%a, %d %b %Y %H:%M:%S +0130"), "y": range(40)})
    for zone in ("PST", "CEST", "MEZ", "GMT"):
        frame[zone] = moments.strftime(
            f"%b %-d, %Y %-I:%M:%S %p {zone}" if zone == "PST" else f"%d.%m.%Y %H:%M:%S {zone}"
        )
    table = read_table(frame.to_csv(index=False).encode())
    assert (table.frame["mailed"] == moments - pd.Timedelta(minutes=90)).all()
    assert all((table.frame[zone] == moments).all() for zone in frame.columns[2:])
    assert [finding.column for finding in table.findings if finding.code == "local-time"] == ["PST", "CEST", "MEZ"]
    assert [finding.column for finding in table.findings if finding.code == "utc"] == ["mailed"]
