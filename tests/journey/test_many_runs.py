"""Pages on a workspace of 200 runs; the files of Leaderboard, Compare, Adapters and Try it have their own such tests."""

import seeding
from page_steps import go


def test_each_page_opens_on_two_hundred_runs(app, store):
    newest = seeding.many_runs(store, sweeps=4, per_sweep=50, looks=5, steps=20)[0]
    assert len(store.runs()) == 200
    for name in ("data", "new_run", "guide", "live"):
        go(app, name)
        assert not app.exception, name
        assert not app.error, name
    assert app.selectbox(key="chosen_sweep").value == newest
    assert len(app.dataframe[0].value) == 50
