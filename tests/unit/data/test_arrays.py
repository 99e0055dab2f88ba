"""X and y in memory: kinds follow types, labels keep their order, and every labelled row is used."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import coo_array

from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_numbers, read_rows
from tabtune_core.data.values import moments, numbers
from tabtune_core.errors import LabelError, TableError
from tabtune_core.settings import RunSettings

SETTINGS = RunSettings(dataset="-", target="y")


def test_an_array_takes_the_fitted_column_names():
    assert list(read_rows(np.ones((2, 2))).columns) == ["x0", "x1"]
    assert list(read_rows(np.ones((2, 2)), ("a", "b")).columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("x", "columns", "message"),
    [
        (np.ones(3), None, "got 1D array instead. Reshape your data"),
        (np.ones((3, 0)), None, r"0 feature\(s\)"),
        (pl.Series([1]), None, "Arrow cannot convert X"),
        (pa.Table.from_pandas(pd.DataFrame({"a": pd.cut([1, 2], 2)})), None, "Arrow cannot convert X"),
        ([[1, 2], [3]], None, "got 1D array instead"),
        (coo_array((3, 2)), None, "sparse input is not supported. Pass X.toarray"),
        (pl.LazyFrame({"a": [1]}), None, "got scalar array instead"),
        ([{"a": 1}], ("a",), r"for dictionaries, pandas.DataFrame\(X\)"),
        (None, None, "X must be a frame, an array or a list of rows"),
        ("rows.csv", None, "got scalar array instead"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "two columns named 'a'"),
        (np.ones((2, 3)), ("a", "b"), "X has 3 features, but TabularPipeline is expecting 2"),
        (np.zeros(3, "i4,f8"), None, r"structured array.* pass pandas.DataFrame\(X\)"),
        (pd.DataFrame({"a": [1]}), ("a", "b"), "X lacks the columns 'b'"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_the_reason(x, columns, message):
    with pytest.raises(TableError, match=message):
        read_rows(x, columns)


def test_labels_keep_their_order_and_their_type():
    assert Labels.of(pd.Series(["10", "9"]), "classification").classes.tolist() == ["10", "9"]
    numbers = Labels.of(pd.Series([10, 9, 9]), "classification")
    assert numbers.classes.tolist() == [9, 10]
    assert numbers.texts.classes == ("9", "10")
    with pytest.raises(LabelError, match="of several kinds"):
        Labels.of(pd.Series(["a", 1]), "classification")


def test_labels_that_do_not_match_the_rows_are_refused():
    assert read_labels([[1], [2]], 2).tolist() == [1, 2]
    with pytest.raises(LabelError, match="X has 3 rows, so it must be"):
        read_labels([1, 2], 3)
    with pytest.raises(LabelError, match="structured array.* one field as y"):
        read_labels(np.zeros(3, "i4,f8"), 3)


def test_every_labelled_row_trains_or_validates():
    y = pd.Series(["a", "b"] * 20 + [None])
    prepared = prepare_arrays(
        read_rows(np.arange(82.0).reshape(41, 2)), y, Labels.of(y, "classification"), SETTINGS, max_classes=10
    )
    assert sorted([*prepared.split.train, *prepared.split.validation]) == list(range(40))
    assert len(prepared.split.test) == 0
    assert prepared.context.x_CF.shape == (32, 2)


@pytest.mark.parametrize("values", [["a"] * 50, [None] * 50])
def test_one_class_is_refused(values):
    y = pd.Series(values, dtype=object)
    with pytest.raises(LabelError, match=r"y has [01] class; two are needed"):
        prepare_arrays(read_rows(np.ones((50, 1))), y, Labels.of(y, "classification"), SETTINGS, max_classes=10)


def test_a_missing_value_among_words_is_not_a_word():
    assert read_labels(["a", np.nan, None], 3).isna().tolist() == [False, True, True]
    encoded = read_labels(pa.chunked_array([["b", "a", None]]).dictionary_encode(), 3)
    assert encoded.isna().tolist() == [False, False, True]
    with pytest.raises(LabelError, match="of several kinds"):
        Labels.of(read_labels(["a", 1], 2), "classification")


def test_masked_values_are_missing_and_numbers_beside_words_stay_numbers():
    assert read_rows(np.ma.array([[1.0, 2], [3, 4]], mask=[[1, 0], [0, 0]]))["x0"].isna().tolist() == [True, False]
    assert read_labels(np.ma.array([1, 2], mask=[0, 1]), 2).isna().tolist() == [False, True]
    assert [dtype.kind for dtype in read_rows([[1.5, "a"], [2.5, "b"]]).dtypes] == ["f", "O"]


@pytest.mark.parametrize("wrong", [np.inf, "n/a", 1j])
def test_a_regression_label_that_is_not_a_number_is_not_silently_dropped(wrong):
    assert read_numbers(pd.Series(["1.5", None, 2], dtype=object)).tolist() == [1.5, None, 2.0]
    with pytest.raises(LabelError, match="1 value of 3 cannot be predicted as finite numbers"):
        read_numbers(pd.Series([1.5, None, wrong], dtype=object))


@pytest.mark.parametrize(
    ("values", "different"), [(np.linspace(0, 1, 50), 50), ([0.5, 1.5] * 25, 2), ([Decimal(1), Decimal("1.5")] * 25, 2)]
)
def test_continuous_labels_are_refused_for_classification(values, different):
    y = pd.Series(values)
    with pytest.raises(LabelError, match=f"y is continuous: {different} different numbers in 50 rows.* pass y as text"):
        prepare_arrays(read_rows(np.ones((50, 1))), y, Labels.of(y, "classification"), SETTINGS, max_classes=10)


def test_numbers_beyond_a_float_are_missing_in_rows_and_refused_as_labels():
    with pytest.raises(LabelError, match="cannot be read as labels|as finite numbers"):  # pandas below 3, and newer
        read_numbers(read_labels([10**400, 1], 2))
    rows = read_rows([[10**400, 10**400, 1], [2, "2024-01-31", 2]])
    assert np.isnan(numbers(rows["x0"])).tolist() == [True, False]
    assert np.isnat(moments(rows["x1"])).tolist() == [True, False]


def test_only_needed_columns_must_be_there_but_an_array_must_have_all():
    assert list(read_rows(pd.DataFrame([[1, 2, 3]], columns=["b", "c", "c"]), ["a", "b", "c"], ["b"])) == ["b"]
    assert read_rows(np.array([[1, 2, 3]]), ["a", "b", "c"], ["b"]).to_dict("list") == {"b": [2]}
    with pytest.raises(TableError, match="X has 1 features, but TabularPipeline is expecting 3"):
        read_rows([[1]], ["a", "b", "c"], ["b"])


@pytest.mark.parametrize(
    "make",
    [lambda values: pd.array(values, dtype="Int64"), pl.Series, pa.array, lambda values: pa.chunked_array([values])],
)
def test_large_whole_numbers_stay_apart_beside_a_missing_one(make):
    values = [None, 5, 2**53, 2**53 + 1]
    read = read_labels(make(values), 4)
    labels = Labels.of(read, "classification")
    assert labels.texts.classes == ("5", "9007199254740992", "9007199254740993")
    assert (read.isna().tolist(), labels.classes.dtype) == ([True, False, False, False], np.int64)
