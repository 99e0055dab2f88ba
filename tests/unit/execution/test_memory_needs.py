"""The memory that a queued run needs, as its worker estimates it without opening the table."""

import pytest
from small_table import small_table

from tabtune_core.data.datasets import add_dataset, get_dataset, load_frame
from tabtune_core.data.task import features_of, plan_split
from tabtune_core.execution.memory_needs import estimated, needs_of
from tabtune_core.machine import PROCESS_BYTES, machine_memory
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.training.memory.estimate import Sizes
from tabtune_core.training.memory.fitting import need_of
from tabtune_core.training.memory.prediction_context import with_shown_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workspace, and the settings of a run on a table in it."""
    frame, labels = small_table(400)
    home = tmp_path_factory.mktemp("home")
    frame.assign(kept=labels).to_csv(home / "table.csv", index=False)
    return home, RunSettings(dataset=add_dataset(home, home / "table.csv", "table.csv").id, target="kept", device="cpu")


def as_before_a_launch(home, run):
    """Returns the estimate from the table itself, as pages and command line make it."""
    dataset = get_dataset(home, run.dataset)
    features = features_of(dataset.columns, run)
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    split = plan_split(load_frame(home, run.dataset), run)
    return need_of(
        [run], get_card(run.model), Sizes.plan(shown, split, features=features, classes=2), on_gpu=False
    ).most


@pytest.mark.parametrize("strategy", ["inference", "base-ft", "peft"])
def test_the_need_equals_the_estimate_before_the_launch(run, strategy):
    home, settings = run[0], run[1].with_strategy(strategy)
    assert estimated(RunStore(home), settings) == pytest.approx(as_before_a_launch(home, settings), rel=0.01)


def test_an_unknown_need_is_a_process_with_torch(run):
    home, settings = run
    store = RunStore(home)
    known, of_a_missing_table, reference = store.add_sweep(
        [settings, settings.changed(dataset="0" * 64), settings.with_strategy("linear")]
    )[1]
    need_of = needs_of(store)
    assert need_of(known) == estimated(store, settings) > PROCESS_BYTES
    assert [need_of(run_id) for run_id in (of_a_missing_table, reference, "deleted")] == [PROCESS_BYTES] * 3
