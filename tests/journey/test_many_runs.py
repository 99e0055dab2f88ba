"""Pages on a workspace of 200 runs; those of the Leaderboard, Compare, Adapters and Try it are in their own files."""

import pytest
import seeding
from page_steps import go


@pytest.mark.parametrize("name", ["data", "new_run", "live", "guide"])
def test_a_page_opens_on_two_hundred_runs(app, store, name):
    seeding.many_runs(store, sweeps=4, per_sweep=50, looks=5, steps=20)
    assert len(store.runs()) == 200
    go(app, name)
    assert not app.exception
    assert not app.error
    assert app.title


def test_live_shows_each_run_of_the_newest_sweep(app, store):
    newest = seeding.many_runs(store, sweeps=4, per_sweep=50, looks=5, steps=20)[0]
    go(app, "live")
    assert app.selectbox(key="chosen_sweep").value == newest
    assert len(app.dataframe[0].value) == 50
