"""Encoding of categories, numbers, dates and texts as features, and of labels as ids."""

import json
from datetime import date
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder, count_features, label_numbers
from tabtune_core.data.text_features import DIRECTIONS, TextEncoder
from tabtune_core.errors import LabelError, TableError

KINDS = {"n": "number", "c": "category", "d": "date", "t": "text", "y": "category"}
FRAME = pd.DataFrame({"n": [1.5, np.nan, np.inf], "c": ["b", "a", None]})
FRAME = FRAME.assign(d=pd.to_datetime(["1970-01-02", "2000-02-29", None]), t=["some words", "more", "less"], y=[*"xzx"])


def test_categories_come_first_then_numbers_then_the_parts_of_dates():
    encoder = FeatureEncoder.fit(FRAME, KINDS, "y")
    expected = [[1, 1.5, 1, 1, 4], [0, np.nan, 11016, 2, 1], [-1, np.nan, np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(encoder.transform(FRAME), np.array(expected, dtype=np.float32))
    assert encoder.left_out == ("t",)


def test_days_match_the_calendar_in_every_year():
    dates = [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31)]
    features = FeatureEncoder.fit(frame := pd.DataFrame({"d": dates}), {"d": "date"}, None).transform(frame)
    assert features[:, 0].tolist() == [one.toordinal() - date(1970, 1, 1).toordinal() for one in dates]


@pytest.mark.parametrize(("learnt", "month"), [("12/31/2024", 3), ("31/12/2024", 4)])
def test_an_ambiguous_day_is_read_in_the_learnt_order(learnt, month):
    encoder = FeatureEncoder.fit(pd.DataFrame({"d": [learnt, "01/02/2025"]}), {"d": "date"}, None)
    assert encoder.transform(pd.DataFrame({"d": ["03/04/2025"]}))[0, 1] == month
    assert [*encoder.misfits(pd.DataFrame({"d": [learnt, "soon", None]}))] == [("d", ["soon"], "dates")]


def test_days_in_either_order_and_moments_without_a_time_are_told():
    ordered = FeatureEncoder.fit(pd.DataFrame({"d": ["2024-12-31", "2025-02-01"]}), {"d": "date"}, None)
    [told] = ordered.unread(pd.DataFrame({"d": ["02/09/2024", "2024-09-02"]}))
    assert "1 cell of 'd', such as '02/09/2024'" in told and "day or month may come first" in told
    timed = FeatureEncoder.fit(pd.DataFrame({"d": ["2024-12-31 18:30", "2025-02-01 00:00"]}), {"d": "datetime"}, None)
    assert [*timed.unread(pd.DataFrame({"d": ["2024-12-31", None]}))] == [
        "No cell of 'd' has a time of day: read as midnight."
    ]
    assert not [*timed.unread(pd.DataFrame({"d": ["2024-12-31", "2024-12-31 10:00"]}))]


def test_a_time_of_day_becomes_hours_and_a_position_on_the_day_circle():
    frame = pd.DataFrame({"at": ["2025-01-01 18:30:00", "2025-01-01 00:00:00"], "t": ["06:00", "00:15:36"]})
    features = FeatureEncoder.fit(frame, {"at": "datetime", "t": "time"}, None).transform(frame)
    assert features[:, 3].tolist() == [18.5, 0]
    assert features[:, 6].tolist() == [6, 0.26]
    np.testing.assert_allclose(features[0, 7:], [1, 0], atol=1e-9)


def test_a_category_not_seen_in_fitting_is_unknown():
    encoder = FeatureEncoder.fit(FRAME, KINDS, "y")
    assert encoder.transform(FRAME.assign(c="new"))[:, 0].tolist() == [-1, -1, -1]


def test_an_encoder_survives_json():
    frame = FRAME.assign(empty=pd.Series([None] * 3, dtype=object))
    encoder = FeatureEncoder.fit(frame, KINDS | {"empty": "category"}, "y")
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    new = frame.assign(c=["new", None, "b"])
    np.testing.assert_array_equal(again.transform(new), encoder.transform(new))
    assert again.left_out == ("t",)


def test_rows_that_lack_a_column_are_refused_by_name():
    encoder = FeatureEncoder.fit(FRAME, KINDS, "y")
    with pytest.raises(TableError, match="lack the columns 'c', 'd'"):
        encoder.transform(FRAME[["n"]])


def test_a_table_with_only_free_text_has_no_features():
    with pytest.raises(TableError, match="no columns of numbers, dates or categories"):
        FeatureEncoder.fit(FRAME[["t", "y"]], KINDS, "y")


def test_classes_are_in_natural_order():
    assert LabelEncoder.fit(["10", "9", "b", "a", "9"]).classes == ("9", "10", "a", "b")
    for order in permutations(["-nan", "10", "9", "b", "inf"]):  # a NaN is neither above nor below a number
        assert LabelEncoder.fit(order).classes == ("9", "10", "inf", "-nan", "b")


def test_targets_that_are_no_finite_numbers_are_missing():
    assert label_numbers(pd.Series(["1.5", "inf", None, "0"])).tolist() == [1.5, None, None, 0.0]
    assert LabelEncoder().transform([1.5, 0]).tolist() == [1.5, 0.0], "without classes numbers stay"


def test_an_unknown_label_is_refused_by_name():
    with pytest.raises(LabelError, match="Labels 'q' are not among the classes 'x', 'z'"):
        LabelEncoder.fit(["x", "z"]).transform(["x", "q"])


@pytest.mark.parametrize(("kind", "features"), [("date", 3), ("datetime", 6), ("time", 3), ("ignored", 0)])
def test_the_number_of_features_is_counted_before_encoding(kind, features):
    frame = pd.DataFrame({"n": [1.0, 2.0], "t": ["2024-01-31 10:30", "2024-02-01 11:00"]})
    kinds = {"n": "number", "t": kind}
    made = FeatureEncoder.fit(frame, kinds, None).transform(frame).shape[1]
    assert made == count_features(kinds, None) == 1 + features


WORDS = ["red", "green", "blue", "fast", "slow", "loud", "quiet", "round", "square", "heavy", "light", "soft"]


def texts(rows, seed=0):
    rng = np.random.default_rng(seed)
    return pd.Series([" ".join(rng.choice(WORDS, 4)) for _ in range(rows)])


def test_texts_with_common_words_are_close():
    column = pd.Series(["red green blue fast", "fast greens blue red", "slow loud quiet round", *texts(80)])
    features_NK = TextEncoder.fit(column).transform(column)
    near, far = (np.linalg.norm(features_NK[0] - features_NK[other]) for other in (1, 2))
    assert near < 0.6 * far


def test_the_features_do_not_depend_on_row_order_or_the_last_bit():
    column = texts(200)
    learnt = TextEncoder.fit(column)
    again = TextEncoder.fit(column.sample(frac=1, random_state=1))
    assert learnt.weights_KH.any(axis=1).sum() > len(WORDS) / 2
    np.testing.assert_array_equal(again.weights_KH, learnt.weights_KH)
    np.testing.assert_array_equal(again.transform(column), learnt.transform(column))


def test_a_missing_text_is_missing():
    column = texts(50)
    column[3] = None
    features_NK = TextEncoder.fit(column).transform(column)
    assert features_NK.shape == (50, DIRECTIONS)
    assert np.isnan(features_NK[3]).all() and np.isfinite(np.delete(features_NK, 3, axis=0)).all()


@pytest.mark.parametrize(
    "column", [[None, None], ["alone"], ["the same"] * 40, ["", " ", "a"], ["a b", "\ud83d\ude00" * 30, "\x00"]]
)
def test_any_column_gives_features(column):
    series = pd.Series(column, dtype=object)
    encoder = TextEncoder.fit(series)
    assert np.isfinite(encoder.transform(series)[series.notna().to_numpy()]).all()
    assert encoder.transform(pd.Series(["new words"], dtype=object)).shape == (1, DIRECTIONS)
