"""Free text becomes features."""

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.text_features import DIRECTIONS, TextEncoder

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
