"""Rows that are no rows of the table: units, totals, notes."""

import pandas as pd
import pytest
from read_tables import one_column, said

from tabtune_core.data.findings import not_asked
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import LayoutError


def with_units(*, rows: int, word: str = "") -> bytes:
    return "\n".join(
        ["city,weight,height", f"{word},kg,cm", *(f"c{row % 3},{row}.5,{row * 2}" for row in range(rows))]
    ).encode()


@pytest.mark.parametrize("rows", [30, 300])
def test_a_row_of_units_is_asked_about_once_and_the_answer_makes_columns_numeric(rows):
    asked = read_table(with_units(rows=rows))
    assert [(question.code, question.options) for question in asked.questions] == [("units-row", ("kg", "cm"))]
    assert len(said(asked, "units-row")) == 1
    assert not said(asked, "mixed-numbers")
    answered = read_table(with_units(rows=rows), ReadingChoices(missing_marks=("kg", "cm")))
    assert [column.kind for column in answered.columns] == ["category", "number", "number"]
    assert (len(answered.frame), answered.questions) == (rows, ())


@pytest.mark.parametrize("first", [("<5", "7"), ("n.a.", "7"), ("unknown", "unknown"), ("12", "cm")])
def test_a_first_row_with_a_number_a_bound_or_a_repeated_word_is_not_a_row_of_units(first):
    rows = [first, *((str(row), str(row * 2)) for row in range(80)), ("unknown", "5")]
    table = read_table("\n".join(["w,h", *map(",".join, rows)]).encode())
    assert not said(table, "units-row")


TOTALS = {
    "named": (["a,1,2", "b,3,4", "c,5,6", "Total:,9,12"], "'item' is 'Total:', 'n' is '9'"),
    "named in another language": (["a,1,2", "b,3,4", "c,5,6", "Gesamtsumme,9,12"], "'item' is 'Gesamtsumme'"),
    "without a name": (["a,1,2", "b,3,4", "c,5,6", ",9,12"], "'n' is '9', 'm' is '12'"),
    "a name that recurs": (["a,1,2", "total,3,4", "c,5,6", "total,9,12"], None),
    "named in any language, by its sums": (
        ["a,1,2", "b,3,4", "c,5,6", "d,2,2", "Итого,11,14"],
        "'item' is 'Итого', 'n' is '11'",
    ),
    "named so, beside a mean": (["a,1,2", "b,3,4", "c,5,6", *["d,2,2"] * 6, "합계,21,2.7"], None),
    "a sum of one column": (
        [*(f"r{row},{row}," for row in range(1, 9)), "Razem,36,"],
        "'item' is 'Razem', 'n' is '36'",
    ),
    "a word that recurs": (["a,1,2", "b,3,4", "c,5,6", "d,2,2", "b,11,14"], None),
    "not the sum": (["a,1,2", "b,3,4", "c,5,6", ",9,13"], None),
    "a row like the others": (["a,1,2", "b,3,4", "c,5,6", "d,9,12"], None),
    "too few to tell": (["a,1,2", "b,3,4", ",4,6"], None),
    "above a note": (["a,1,2", "b,3,4", "c,5,6", "Total,9,12", "Source: us"], "'item' is 'Total'"),
}


@pytest.mark.parametrize(("rows", "shown"), TOTALS.values(), ids=TOTALS)
def test_a_total_in_the_last_row_is_reported(rows, shown):
    table = read_table("\n".join(["item,n,m", *rows]).encode())
    assert [shown in message for message in said(table, "total-row")] == [True] * (shown is not None)


LAST = {
    "of what follows its name": (["Total: Account,9,12", "Total: Search,2,3", "Total: Display,0,0"], 3),
    "of what is in brackets": (["Sum (all),9,12"], 1),
    "of all": (["Overall average,3,4"], 1),
    "a mean, a deviation and others": (["Mean,3,4", "SD,2,2", "Min,1,2", "Max.,5,6"], 4),
    "a deviation without a mean": (["SD,2,2"], 0),
    "a deviation above a total": (["SD,2,2", "Total,9,12"], 1),
    "more statistics than rows": (["Mean,3,4", "SD,2,2", "Min,1,2", "Max,5,6", "CV,1,1", "Median,3,4", "Range,5,6"], 0),
    "a name that begins like many others": ([f"Total: {row},{row},7" for row in range(9)], 0),
}


@pytest.mark.parametrize(("rows", "number"), LAST.values(), ids=LAST)
def test_totals_at_the_end_are_counted(rows, number):
    table = read_table("\n".join(["item,n,m", "a,1,2", "b,3,4", "c,5,6", "d,0,0", *rows]).encode())
    assert [len(question.options) for question in table.questions if question.field == "skip_last"] == [number + 1] * (
        number > 0
    )


@pytest.mark.parametrize(
    ("currencies", "ends", "number"),
    [
        ("EUR", [",EUR,36"], 1),
        ("EUR USD", [",USD,16", ",EUR,20"], 2),
        ("EUR", [",EUR,37"], 0),
        ("EUR", ["9,EUR,36"], 0),
    ],
)
def test_a_total_may_repeat_a_word_of_the_rows_that_it_adds(currencies, ends, number):
    words = currencies.split()
    rows = [f"{row},{words[row % len(words)]},{row}" for row in range(1, 9)]
    table = read_table("\n".join(["document,currency,amount", *rows, *ends]).encode())
    assert [len(question.options) for question in table.questions if question.field == "skip_last"] == [number + 1] * (
        number > 0
    )


def in_groups(names: str, *, rows: int = 4, total: str = "{} Total", grand: str = "", above: bool = False) -> str:
    """Returns a table with a total of each group ``total`` and of all ``grand``, below or above their rows; none where
    empty.
    """
    lines: list[list[str]] = []
    for place, name in enumerate(names):
        cells = [[name, f"s{row}", str(7 * row + place + 1), str(3 * row + 2)] for row in range(rows)]
        sums = [str(sum(int(one[column]) for one in cells)) for column in (2, 3)]
        lines += cells + [[total.format(name), "", *sums]] * (total != "")
    if grand:
        sums = [str(sum(int(one[column]) for one in lines if one[1])) for column in (2, 3)]
        lines.append([grand, "", *sums])
    return "\n".join(["group,shop,sales,items", *map(",".join, lines[:: -1 if above else 1])])


def asked_about(text: str) -> list[tuple[str, ...]]:
    return [(question.field, *question.options) for question in read_table(text.encode()).questions]


DROPPED, ROW = ("drop_totals", "false", "true"), ("skip_last", "0", "1")


@pytest.mark.parametrize(
    ("table", "questions", "first"),
    [
        (
            in_groups("abc"),
            [DROPPED],
            "Rows 5, 10, 15 look like totals of other rows ('group' is 'a Total', 'sales' is '46'",
        ),
        (in_groups("abc", grand="Grand Total"), [ROW, DROPPED], "Rows 5, 10, 15 look"),
        (in_groups("abc", grand="Alles"), [ROW, DROPPED], "Rows 5, 10, 15 look"),
        (in_groups("abc", total="Summe {}", grand="Summe"), [ROW, DROPPED], "Rows 5, 10, 15 look"),
        (in_groups("abc", total="{}小计"), [DROPPED], "Rows 5, 10, 15 look"),
        (in_groups("abc", total="Total"), [DROPPED], "Rows 5, 10, 15 look"),
        (in_groups("abc", total="{}"), [ROW, DROPPED], "Rows 5, 10 look"),
        (in_groups("abc", above=True), [DROPPED], "Rows 1, 6, 11 look"),
        (in_groups("abc", total="", grand="Total", above=True), [DROPPED], "Row 1 looks like a total of other rows"),
        (in_groups("abc", total="", grand="All", above=True), [DROPPED], "Row 1 looks like a total of other rows"),
        (in_groups("abc", total="", grand="", above=True), [], ""),
        (in_groups("abc").replace(",46,", ",47,").replace(",50,", ",51,"), [], ""),
        (in_groups("abc", rows=1, total="{} sum"), [], ""),
        ("n,m,k\n" + "1,0,1\n" * 9 + "9,0,\n" + "1,1,0\n" * 9, [], ""),
        ("text,stars\n" + "in total good,1\nnice,2\n" * 20, [], ""),
        ("name,n,m\nTotal,1,2\na,3,4\nb,5,6\nc,7,8\n", [], ""),
        ("name,n,m\nmean,3,4\nsd,1,2\nmin,2,3\nkurtosis,1,1\n", [], ""),
    ],
)
def test_totals_among_the_rows_are_found_by_their_sums_and_asked_about(table, questions, first):
    assert asked_about(table) == questions
    told = [message for message in said(read_table(table.encode()), "total-row") if message.startswith("Row")]
    assert [message.startswith(first) for message in told] == [True] * (DROPPED in questions)


@pytest.mark.parametrize(
    "names", [dict(grand="Grand Total"), dict(total="{}"), dict(total="", grand="Total", above=True)]
)
def test_totals_are_left_out_if_asked_and_later_readings_remember(names):
    rows = in_groups("abc", **{**names, "total": "", "grand": ""})
    left = read_table(in_groups("abc", **names).encode(), ReadingChoices(drop_totals=True))
    assert left.frame.equals(read_table(rows.encode()).frame) and not left.questions
    assert len(said(left, "dropped-totals")) == 1
    assert ReadingChoices.from_json(left.reading.to_json()).drop_totals


def test_totals_of_rows_with_copies_are_left_out_before_the_copies():
    table = (
        in_groups("abc", grand="Grand Total")
        .replace("a,s1,8,5", "a,s0,1,2")
        .replace("a Total,,46,26", "a Total,,39,23")
    )
    left = read_table(table.replace(",150,78", ",143,75").encode(), ReadingChoices(drop_totals=True, drop_copies=True))
    assert [*left.frame["group"]] == [*"aaabbbbcccc"] and left.frame["sales"].sum() == 142
    assert said(left, "dropped-totals") and said(left, "dropped-copies")


NOTES = {
    "a source": (["Source: World Bank, 2024"], "The last row looks like a note"),
    "two notes": (
        ["Note: income in thousand dollars,,", "Last updated: 2024-03-01,,"],
        "The last 2 rows look like notes",
    ),
    "the row count of a database": (["(3 rows affected)"], "'(3 rows affected)'"),
    "labels, each above a word": (
        ["thousand persons,,", "Units:,,", "persons,,", "Internal code:,,", "mun110100,,"],
        "The last 5 rows",
    ),
    "a label and, below it, words that a comma splits": (
        ["d,4,5", "Contact:,,", "Statistics,office,"],
        "The last 2 rows",
    ),
    "words below a drawn line": (
        ["-----,,", "Dataset: x,,", "-----,,", "Caveats,,"],
        "The last 4 rows look like notes below a table",
    ),
    "below a line of other marks": (["______,,", "Stand: 01.02.2024,,"], "The last 2 rows"),
    "below a line in each column": (["---,---,---", "Caveats,,"], "The last 2 rows"),
    "words without blanks": (["d,4,x", "=====,,", "共40笔记录,,", "交易数:3笔,总额,"], "The last 3 rows"),
    "many words below a line": (["---,,", *(f"word{row},," for row in range(40))], "The last 41 rows"),
    "a drawn line": (["-----,,"], "The last row looks like a note below a table ('-----')"),
    "a copyright": (["d,4,5", "PVGIS (c) European Union,2001-2024,"], "The last row"),
    "a row below a line": (["---,,", "d,4,5"], None),
    "a number below a line": (["---,,", "d,4,"], None),
    "a line between rows": (["---,,", "d,4,5", "e,,"], None),
    "a name": (["d,,"], None),
    "names": (["d,,", "e,,"], None),
    "a label between rows": (["d:,,", "e,,", "f,4,5", "Old:,,", "g,,"], None),
    "a label above a row with a number": (["Old:,,", "g,4,"], None),
    "a label above a row with a word that recurs": (["d,4,yes", "e,5,no", "f,6,yes", "Old:,,", "g,,yes"], None),
    "two words without a label": (["d,,", "Statistics,office,"], None),
    "a phrase that names a row": (["Isle of Man,4,"], None),
    "incomplete rows among others": (["New York,,", "d,4,5", "Old York,,"], None),
}


@pytest.mark.parametrize(("rows", "shown"), NOTES.values(), ids=NOTES)
def test_notes_below_a_table_are_reported(rows, shown):
    found = said(read_table("\n".join(["item,n,m", "a,1,2", "b,3,4", "c,5,6", *rows]).encode()), "note-rows")
    assert [shown in message for message in found] == [True] * (shown is not None)


def test_commas_may_split_a_source_into_more_cells():
    rows = "".join(f"r{row},{row},{row * row},{row % 7}\n" for row in range(60))
    assert said(read_table(f"item,n,m,k\n{rows}Source: World Bank, WDI, 2024\n".encode()), "note-rows")
    assert not said(read_table(f"item,n,m,k\n{rows}Source: World Bank, 4, 2024\n".encode()), "note-rows")


@pytest.mark.parametrize(
    ("end", "asked"),
    [
        ("Total,9,12", ("0", "1")),
        ("Total,,12\nSource: us", ("0", "1", "2")),
        ("Source: us", ("0", "1")),
        ("Total,9,12\nGrand total,9,12", ("0", "1", "2")),
    ],
)
@pytest.mark.parametrize("days", [3, 60])  # with 60 the column holds dates, and its notes are missing values
def test_rows_below_a_table_are_asked_about_and_left_out(end, asked, days):
    body = "day,n,m\n" + "".join(
        f"{pd.Timestamp('2024-01-01') + pd.Timedelta(day, 'D'):%Y-%m-%d},{day},{day % 7}\n" for day in range(days)
    )
    assert not read_table((body + "2024-04-01,,\n").encode()).questions
    table = read_table((body + end).encode())
    assert [question.options for question in table.questions if question.field == "skip_last"] == [asked]
    assert not {"note-rows", "total-row"} & {finding.code for finding in not_asked(table.findings, table.questions)}
    left = read_table((body + end).encode(), ReadingChoices(skip_last=int(asked[-1])))
    assert left.frame.equals(read_table(body.encode()).frame) and not left.questions
    assert said(left, "skipped-last") == [f"{'2 rows' if len(asked) == 3 else '1 row'} at the end: left out, as asked."]
    assert ReadingChoices.from_json(left.reading.to_json()).skip_last == int(asked[-1])
    with pytest.raises(LayoutError, match=rf"{days + 1} of \d+ rows at the end cannot be left out"):
        read_table((body + "2024-04-01,7,8\n").encode(), ReadingChoices(skip_last=days + 1))


def test_a_question_about_a_further_total_counts_the_rows_that_are_left_out_already():
    table = b"item,n\n" + b"".join(b"%d,%d\n" % (row % 3, row) for row in range(20)) + b"Total,9\nMean,9\nSum,9\n"
    asked = [read_table(table, ReadingChoices(skip_last=rows)).questions for rows in range(4)]
    assert [[question.options for question in one if question.field == "skip_last"] for one in asked] == [
        [(*"0123",)],
        [(*"123",)],
        [(*"23",)],
        [],
    ]


def test_a_column_with_a_question_is_not_reported_as_free_text():
    cells = [*(f"{row}.25" for row in range(60)), "unknown", "unknown", "unknown"]
    asked = one_column(cells)
    assert (asked.columns[0].kind, [question.code for question in asked.questions]) == ("text", ["mixed-numbers"])
    told = not_asked(asked.findings, asked.questions)
    assert not [finding for finding in told if finding.column == "x"]
    assert said(one_column(cells, ReadingChoices(kinds=(("x", "text"),))), "id-like")
