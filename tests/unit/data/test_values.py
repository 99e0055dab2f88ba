"""A value means the same in every type and through every entry point."""

import datetime as dt
import io
import json
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_rows
from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder, count_features
from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import read_table
from tabtune_core.data.values import column_kind, numbers, word, words
from tabtune_core.errors import TableWarning
from tabtune_core.settings import RunSettings

ROWS = 24


def arrow(kind):
    return lambda column: pd.Series(list(column), dtype=pd.ArrowDtype(kind))


def as_type(name):
    return lambda column: column.astype(name)


def each(make):
    return lambda column: column.map(make, na_action="ignore").astype(object).where(column.notna(), None)


def filled(name):
    """Returns a conversion to a type without a missing value; for a column that needs one, pandas takes floats or
    objects.
    """
    return lambda column: column.astype(name if column.notna().all() else {"b": object}.get(np.dtype(name).kind, float))


WHOLE = {
    **{name: filled(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
    **{
        name: as_type(name)
        for name in ("Int8", "UInt8", "Int32", "UInt64", "float16", "float32", "float64", "Float32", "Float64", object)
    },
    **{str(kind): arrow(kind) for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(9, 2))},
    "Decimal": each(Decimal),
    "mixed": lambda column: pd.Series(
        [v if v is None else (v, float(v))[i % 2] for i, v in enumerate(column)], dtype=object
    ),
    "sparse": lambda column: column.astype("float64").astype("Sparse[float64]"),
    "category": as_type("category"),
    "category of floats": lambda column: column.astype("float64").astype("category"),
    "text": each(str),
    "text of floats": each(lambda value: str(float(value))),
    "string": lambda column: each(str)(column).astype("string[pyarrow]"),
}
TRUTH = {
    **{str(name): as_type(name) for name in ("boolean", "bool[pyarrow]", "float32", "Int64", object, "category")},
    "bool": filled("bool"),
    "text": each(str),
    "small letters": each(lambda value: str(value).lower()),
    "digits": each(lambda value: str(int(value))),
    "numpy": each(np.bool_),
}
FRACTIONS = {
    **{name: as_type(name) for name in ("float64", "Float64", object, "category")},
    "arrow": arrow(pa.float64()),
    "text": each(repr),
    "Decimal": each(Decimal),
}
MOMENTS = {
    **{unit: as_type(f"datetime64[{unit}]") for unit in ("ns", "us", "ms", "s")},
    "zone": lambda column: column.astype("datetime64[ns]").dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    "arrow": arrow(pa.timestamp("us")),
    "arrow's zone": lambda column: pd.Series(
        pd.array(
            column.astype("datetime64[us]").dt.tz_localize("UTC"), dtype=pd.ArrowDtype(pa.timestamp("ms", "Asia/Aden"))
        )
    ),
    "Python": each(lambda value: value.to_pydatetime() if isinstance(value, pd.Timestamp) else value),
    "NumPy": each(np.datetime64),
    "text": each(str),
    "ISO": each(lambda value: value.isoformat() + "Z"),
    "written": each(lambda value: f"{value:%A, %d %B %Y %I:%M:%S %p}"),
}
DAYS = {
    "date": as_type(object),
    "date32": arrow(pa.date32()),
    "period": lambda column: pd.Series(pd.PeriodIndex([value or pd.NaT for value in column], freq="D")),
    "text": each(str),
    "written": each(lambda value: f"{value:%b} {value.day}th, {value.year}"),
    "datetime": each(lambda value: dt.datetime(value.year, value.month, value.day)),
    "mixed": lambda column: pd.Series(
        [dt.datetime(v.year, v.month, v.day) if i % 2 and v else v for i, v in enumerate(column)], dtype=object
    ),
}
SPANS = {
    "ns": as_type("timedelta64[ns]"),
    "ms": as_type("timedelta64[ms]"),
    "arrow": arrow(pa.duration("us")),
    "Python": as_type(object),
    "NumPy": each(np.timedelta64),
}
TIMES = {
    "Python": as_type(object),
    "arrow": arrow(pa.time64("us")),
    "arrow's seconds": arrow(pa.time32("s")),
    "text": each(str),
    "12 hours": each("{:%I:%M:%S %p}".format),
}
WORDS = {
    **{name: as_type(name) for name in (object, "string", "string[pyarrow]", "category")},
    "large": arrow(pa.large_string()),
    "dictionary": lambda column: pd.Series(
        pd.array(
            pa.array(list(column)).dictionary_encode(), dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
        )
    ),
    "NumPy": each(np.str_),
}
MOMENT = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(lambda value: value.replace(microsecond=0))
HELD = {
    "whole": (st.integers(0, 100), WHOLE),
    "truth": (st.booleans(), TRUTH),
    "fractions": (st.floats(-1e14, 1e14, allow_subnormal=False), FRACTIONS),
    "moments": (MOMENT, MOMENTS),
    "days": (st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1)), DAYS),
    "spans": (st.integers(-(10**9), 10**9).map(lambda value: dt.timedelta(milliseconds=value)), SPANS),
    "times": (st.times().map(lambda value: value.replace(microsecond=0)), TIMES),
    "words": (st.sampled_from(["a", "b b", "Ä", "yes", "1.10", "01", "true story"]), WORDS),
}


@st.composite
def columns(draw, among=tuple(HELD)):
    """Draws the values of a column, some of them missing, and two types that can hold them."""
    kind = draw(st.sampled_from(among))
    values, forms = HELD[kind]
    some, gone = (
        draw(st.lists(values, min_size=1, max_size=6)),
        draw(st.frozensets(st.integers(0, ROWS - 2), max_size=4)),
    )
    return kind, some, gone, *(draw(st.sampled_from(list(forms))) for _ in range(2))


def plain(made):
    _, some, gone, *_ = made
    return pd.Series([None if i in gone else some[i % len(some)] for i in range(ROWS)], dtype=object)


def held(made, place):
    """Returns the column in the first or the second of its types."""
    return HELD[made[0]][1][made[3 + place]](plain(made))


def fitted(frame):
    kinds = {name: column_kind(frame[name]) for name in frame}
    return FeatureEncoder.fit(frame, kinds | dict.fromkeys([n for n in kinds if kinds[n] == "text"], "category"), None)


@settings(max_examples=80, deadline=None)
@given(st.lists(columns(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_features_do_not_depend_on_the_type_that_holds_a_value(made, chance):
    learnt = read_rows(pd.DataFrame({i: held(one, 0) for i, one in enumerate(made)}))
    order = chance.sample(range(len(made)), len(made))
    asked = read_rows(pd.DataFrame({i: held(made[i], 1) for i in order}))
    encoder = fitted(learnt)
    expected = encoder.transform(learnt)
    np.testing.assert_array_equal(encoder.transform(asked), expected)
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.transform(asked.iloc[::-1])[::-1], expected)
    assert [*encoder.unread(asked)] == []
    kinds = {name: kind for kind in ("date", "datetime", "time") for name in getattr(encoder, f"{kind}s")}
    for i, name in enumerate(encoder.columns):
        place = count_features({before: kinds.get(before, "number") for before in encoder.columns[:i]}, None)
        seen = expected[:, place] >= 0 if name in encoder.categories else ~np.isnan(expected[:, place])
        np.testing.assert_array_equal(seen, plain(made[int(name)]).notna(), err_msg="a value where there was one")


@settings(max_examples=6, deadline=None)
@given(st.lists(columns(("whole", "truth", "moments", "words")), min_size=1, max_size=2))
def test_rows_of_a_file_equal_those_that_pandas_reads_or_writes(made):
    frame = pd.DataFrame({f"c{i}": plain(one) for i, one in enumerate(made)}).assign(n=range(ROWS))
    other = frame.assign(**{f"c{i}": held(one, 1) for i, one in enumerate(made)})
    written, kept = frame.to_csv(index=False).encode(), io.BytesIO()
    frame.infer_objects().to_parquet(kept)
    table = read_table(written)
    kinds = {column.name: column.kind for column in table.columns}
    encoder = FeatureEncoder.fit(table.frame, kinds, None)
    facts = ReadAs(table.reading, kinds, list(encoder.columns), "y")
    files = [written, kept.getvalue(), other.to_csv(index=False).encode()]
    for rows in (
        pd.read_csv(io.BytesIO(written)),
        pd.read_parquet(kept),
        other,
        *(read_new_rows(file, facts).frame for file in files),
    ):
        np.testing.assert_array_equal(encoder.transform(rows), encoder.transform(table.frame))


@settings(max_examples=30, deadline=None)
@given(st.lists(columns(), min_size=1, max_size=3), st.booleans())
def test_a_column_is_a_feature_or_a_warning_names_it(made, remark):
    frame = pd.DataFrame({f"c{i}": held(one, 0) for i, one in enumerate(made)}).assign(n=range(ROWS))
    frame["remark"] = [f"remark {i * remark}" for i in range(ROWS)]
    y = read_labels(["a", "b"] * (ROWS // 2), ROWS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prepared = prepare_arrays(
            read_rows(frame), y, Labels.of(y, "classification"), RunSettings(dataset="-", target="y"), max_classes=10
        )
    named = [name for name in frame if any(f"The column {name!r} is left out" in str(one.message) for one in told)]
    assert sorted([*prepared.context.encoder.columns, *named]) == sorted(frame)
    assert ("remark" in named) == remark
    assert all(one.category is TableWarning and one.filename == __file__ for one in told)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series([True, 1, None], dtype=object), "number"),
        (pd.Series([None, None], dtype="string"), "number"),
        (pd.Series(["1", "2.5e3", "nan", None]), "number"),
        (pd.Series(["02139", "10115"]), "category"),
        (pd.Series(["2024-01-01", "2024-01-02T03:04:05Z", ""]), "datetime"),
        (pd.Series(["1", "x"]), "category"),
        (pd.Series([f"remark {i}" for i in range(40)]), "text"),
        (pd.Series([f"{i:05}" for i in range(40)]), "text"),
        (pd.Series([f"id {i}" for i in range(40)], dtype="category"), "category"),
        (pd.Series([1, 2, 2], dtype="category"), "category"),
    ],
)
def test_the_kind_of_a_column_follows_its_type_and_values(values, kind):
    assert column_kind(values) == kind


def test_unreadable_values_in_a_prediction_are_reported():
    encoder = fitted(pd.DataFrame({"n": [1.5, 2.5], "d": pd.to_datetime(["2024-01-01"] * 2), "c": ["a", "b"]}))
    odd = pd.DataFrame({"n": ["wet", np.inf], "d": [2024, None], "c": ["A", None]})
    assert [it.split(",")[0] for it in encoder.unread(odd)] == [
        "2 cells of 'n'",
        "1 cell of 'd'",
        "1 row holds 'A' in 'c'",
    ]
    assert list(encoder.unread(odd.assign(n=["NaN", None], d=None, c=["a", "b"]))) == []


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_that_number(number):
    assert numbers(pd.Series([word(number), repr(number)]))[0] == numbers(pd.Series([repr(number)]))[0] == number


@pytest.mark.parametrize("y", [[True, False, None], [1.0, 2.0, None], ["a", "b", None]], ids=str)
def test_labels_of_another_type_are_the_same_classes(y):
    classes = LabelEncoder.fit(list(words(pd.Series(y, dtype=object))[:2]))
    for name in ("category", object):
        assert (
            classes.transform(list(pd.Series(y, dtype=object).dropna().astype(name))).tolist()
            == classes.transform(y[:2]).tolist()
        )
    decimals = [value if isinstance(value, str) else Decimal(value) for value in y[:2]]
    assert classes.transform(decimals).tolist() == classes.transform(y[:2]).tolist()
