"""Tables in any layout are read as they were written, or a finding reports the difference."""

import csv
import io

from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from tabtune_core.data.table import read_table

HEADER = ["first name", "second name", "third name"]
SEPARATORS = [",", ";", "\t", "|"]
PLAIN = some.text(some.sampled_from([*'abcÄéß ".', "\n"]), max_size=8)


def line_of(cells, separator, quoting):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n").writerow(cells)
    return out.getvalue()[:-1]


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
