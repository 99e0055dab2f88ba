"""Tables in any layout are read as they were written, or a finding reports the difference."""

import csv
import io
import re

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as some

from tabtune_core.data.table import ReadingChoices, read_table

HEADER = ["first name", "second name", "third name"]
SEPARATORS = [",", ";", "\t", "|"]
INNER = some.text(some.sampled_from([*"abcÄéß ,;|\t'\"#/.-+", "\n"]), max_size=8)
PLAIN = some.text(some.sampled_from([*'abcÄéß ".', "\n"]), max_size=8)
ROWS = some.lists(
    some.tuples(INNER.map("k{}k".format), some.integers(-1_000_000, 1_000_000), INNER.map("{}k".format).map(str.strip)),
    min_size=4,
    max_size=25,
)
"""Words end with a letter: blank space around a cell is not kept, and marks of missing values are not words."""
ODD = {
    "short": "k{0}5",
    "ragged": "k{0}5{0}k{0}k{0}k",
    "broken": 'k{0}5{0}"k"k',
    "blank": "",
    "blanks": "   ",
    "comment": "# it's a k{0}k",
    "marked": "#5{0}5{0}k",
}
"""Lines that do not fit the table, with the separator to fill in. Two are still rows: the missing cells of "short"
become missing values, and "marked" is not taken as a comment, because no row begins with a number.
"""
NAMED = {
    "short": "short-lines",
    "ragged": "ragged-lines",
    "broken": "ragged-lines",
    "open": "open-quote",
    "comment": "comment-lines",
}
PLACES = some.dictionaries(some.integers(0, 4), some.sampled_from(list(ODD)), max_size=3)


def line_of(cells, separator, quoting):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n").writerow(cells)
    return out.getvalue()[:-1]


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    rows=ROWS,
    places=PLACES,
    separator=some.sampled_from(SEPARATORS),
    quoting=some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=some.sampled_from(["\n", "\r\n", "\r"]),
    encoding=some.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
    before=some.sampled_from(["", "\n", " \n\n"]),
    opened=some.sampled_from([{}, {"open": '"k'}]),
    trailing=some.sampled_from(["", "{0}"]),
    mark=some.sampled_from(["", "#", "# "]),
)
@example(
    rows=[("k, k", -4, "k"), ("k", -8, ";'\"\n.k"), ("kk", 1, "k"), ("kk", 4, "k")],  # an apostrophe before a quote
    **dict(
        places={},
        separator=",",
        quoting=csv.QUOTE_MINIMAL,
        line_end="\n",
        encoding="utf-8",
        before="",
        opened={},
        trailing="",
        mark="",
    ),
)
@example(
    rows=[
        ("kk", 6, "c|ß\n#Ä,/k"),
        ("k'.,k", 7, "'.,k"),
        ("kc|ß\n#Ä,/k", 6, 'éb,"\nk'),
        ("kk", 6, "c|ß\n#Ä,/k"),
    ],  # marks in quotes
    **dict(
        places={},
        separator="|",
        quoting=csv.QUOTE_ALL,
        line_end="\n",
        encoding="utf-8",
        before="",
        opened={},
        trailing="",
        mark="#",
    ),
)
def test_a_table_comes_back_and_each_extra_line_is_named(
    rows, places, separator, quoting, line_end, encoding, before, opened, trailing, mark
):
    end = trailing.format(separator)
    written = [("row", line_of(cells, separator, quoting) + end, list(cells)) for cells in rows]
    for place, sort in sorted(places.items(), reverse=True):
        line, marked = ODD[sort].format(separator), sort == "marked"
        written.insert(place, (sort, line + end * marked, ["#5", 5, "k"] if marked else ["k", 5, None]))
    written += [(sort, text, None) for sort, text in opened.items()]
    text = before + "\n".join([mark + line_of(HEADER, separator, quoting) + end, *(line for _, line, _ in written)])
    table = read_table(
        text.replace("\n", line_end).encode(encoding),
        ReadingChoices(header=True, delimiter=separator, encoding=encoding),
    )

    assert table.frame.columns.tolist() == HEADER
    said = {finding.code: finding.message for finding in table.findings}
    read = table.frame.astype(object).where(table.frame.notna(), None)
    assert read.to_numpy(dtype=object).tolist() == [
        cells for sort, _, cells in written if sort in ("row", "short", "marked")
    ]
    numbers = [
        before.count("\n") + 2 + sum(line.count("\n") + 1 for _, line, _ in written[:place])
        for place in range(len(written))
    ]
    named = [
        (sort, f"{number}" in re.findall(r"\d+", said.get(NAMED[sort], "")))
        for (sort, *_), number in zip(written, numbers, strict=True)
        if sort in NAMED
    ]
    assert all(found for _, found in named), named
    assert {*NAMED.values()} & {*said} == {NAMED[sort] for sort, _ in named}


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    rows=some.lists(
        some.tuples(PLAIN.map("k{}k".format), some.integers(-1_000_000, 1_000_000), PLAIN.map("k{}k".format)),
        min_size=4,
        max_size=25,
    ),
    separator=some.sampled_from(SEPARATORS),
    quoting=some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=some.sampled_from(["\n", "\r\n", "\r"]),
    encoding=some.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    above=some.sampled_from(["", "\n", "Export of May\n\n"]),
)
def test_the_layout_is_detected(rows, separator, quoting, line_end, encoding, above):
    text = above + "\n".join(line_of(cells, separator, quoting) for cells in [HEADER, *rows])
    frame = read_table(text.replace("\n", line_end).encode(encoding)).frame
    assert frame.columns.tolist() == HEADER
    assert frame.to_numpy(dtype=object).tolist() == [list(cells) for cells in rows]
