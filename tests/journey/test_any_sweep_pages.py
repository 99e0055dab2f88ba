"""The pages on sweeps with any parts missing."""

import numpy as np
import pytest
from page_steps import go, texts
from random_sweeps import random_sweep, two_halves

PAGES = ("leaderboard", "guide", "compare", "live")


def test_pages_open_if_configurations_share_no_seed(app, store):
    two_halves(store)
    for name in PAGES:
        go(app, name)
        assert not app.exception, name
        assert "Validation chooses" not in texts(app.markdown), name


@pytest.mark.parametrize("seed", range(3))
def test_pages_open_on_any_part_of_a_sweep(app, store, seed):
    random_sweep(store, np.random.default_rng(seed), ("classification", "regression")[seed % 2])
    for name in PAGES:
        go(app, name)
        assert not app.exception, name
    go(app, "leaderboard").selectbox(key="chosen_lines").set_value("configuration").run()
    assert not app.exception
