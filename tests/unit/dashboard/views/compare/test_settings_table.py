"""Settings of runs side by side: only those that affect a run, as used."""

import pytest

from dashboard.views.compare.side_by_side import settings_table
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

PLAIN = RunSettings(dataset="d", target="y")


@pytest.fixture
def differing(tmp_path):
    """Makes the table of runs A, B, ... and returns its lines with a difference."""

    def table(*settings):
        store = RunStore(tmp_path)
        runs = store.runs(store.add_sweep(settings)[0])
        names = dict(zip([run.id for run in runs], "AB", strict=True))
        return settings_table(runs, names, differences_only=True).set_index("Setting").to_dict("index")

    return table


def test_a_setting_omitted_by_one_run_is_a_difference(differing):
    more = {"time_limit": 60.0, "eval_every": 5, "patience": 3, "predict_context_rows": 100}
    assert differing(PLAIN, PLAIN.changed(**more)) == {
        "Training: predict context rows": {"A": "not set", "B": "100"},
        "Training: time limit": {"A": "not set", "B": "60.0"},
        "Training: eval every": {"A": "not set", "B": "5"},
        "Training: patience": {"A": "not set", "B": "3"},
    }


def test_replaced_settings_and_equal_meanings_are_not_differences(differing):
    steps = PLAIN.changed(steps=7)
    assert differing(steps.changed(epochs=3), steps.changed(epochs=4)) == {}
    assert differing(PLAIN.changed(epochs=3), steps) == {"Training: steps": {"A": "not set", "B": "7"}}
    assert differing(PLAIN, PLAIN.changed(selection_metric="log_loss", alpha=16.0)) == {}


def test_settings_unused_by_a_strategy_are_not_differences(differing):
    adapted = PLAIN.changed(lr_ratio=4.0, dropout=0.3)
    assert set(differing(adapted.with_strategy("base-ft"), adapted)) == {"Strategy", "Training: learning rate"}
