"""The pages on sweeps of which anything may be missing."""

import numpy as np
import pytest
from page_steps import go, texts
from random_sweeps import random_sweep, two_halves

PAGES = ("leaderboard", "guide", "compare", "live")


@pytest.mark.parametrize("name", PAGES)
def test_without_a_seed_that_all_configurations_share_a_page_opens(app, store, name):
    two_halves(store)
    go(app, name)
    assert not app.exception
    assert "Validation chooses" not in texts(app.markdown)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("seed", range(3))
def test_any_part_of_a_sweep_has_its_page(app, store, name, seed):
    random_sweep(store, np.random.default_rng(seed), ("classification", "regression")[seed % 2])
    go(app, name)
    assert not app.exception
    if name == "leaderboard":
        app.selectbox(key="chosen_lines").set_value("configuration").run()
        assert not app.exception
