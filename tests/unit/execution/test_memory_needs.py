"""The memory that a queued run needs, as its worker estimates it without opening the table."""

import dataclasses
import sys
import threading
import time
import types

import pytest
from small_table import small_table
from worker_program import wait_until

from tabtune_core.data.datasets import add_dataset, get_dataset, load_frame
from tabtune_core.data.encoding import count_features
from tabtune_core.data.task import kinds_of, plan_split
from tabtune_core.execution import memory_needs
from tabtune_core.execution.forkserver import forkserver
from tabtune_core.execution.memory_needs import MemoryNeeds, estimated, need_bytes
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
    features = count_features(kinds_of(dataset.columns, run), run.target)
    shown = with_shown_rows(run, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
    split = plan_split(load_frame(home, run.dataset), run)
    return need_of([run], get_card(run.model), Sizes.plan(shown, split, features=features, classes=2), on_gpu=False).most


@pytest.mark.parametrize("strategy", ["inference", "base-ft", "peft"])
def test_the_need_equals_the_estimate_before_the_launch(run, strategy):
    home, settings = run[0], run[1].with_strategy(strategy)
    assert estimated(home, settings) == pytest.approx(as_before_a_launch(home, settings), rel=0.01)


def test_a_separate_process_estimates_it_and_an_unknown_need_is_a_process_with_torch(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))  # an earlier test may have left a page as __main__
    home, settings = run
    context = forkserver("fake_experiment", "fake_jobs")
    assert need_bytes(context, home, settings) == pytest.approx(estimated(home, settings), rel=0.01)
    assert need_bytes(context, home, dataclasses.replace(settings, dataset="0" * 64)) == PROCESS_BYTES
    assert need_bytes(context, home, dataclasses.replace(settings, strategy="linear")) == PROCESS_BYTES
    assert need_bytes(context, home, None) == PROCESS_BYTES


def test_the_worker_does_not_wait_for_a_slow_estimate(tmp_path, monkeypatch):
    go = threading.Event()
    asked = []

    def slow(context, home, run):
        asked.append(run)
        assert go.wait(60)
        return 5e9

    monkeypatch.setattr(memory_needs, "need_bytes", slow)
    store = RunStore(tmp_path)
    needs, (run_id,) = MemoryNeeds(None, store), store.add_sweep([RunSettings(dataset="d", target="t")])[1]
    began = time.monotonic()
    assert [needs.of(run_id), needs.of(run_id)] == [None, None]
    assert time.monotonic() - began < 5
    go.set()
    wait_until(lambda: needs.of(run_id) == 5e9)
    assert len(asked) == 1
    needs.forget(run_id)
    needs.of(run_id)
    assert len(asked) == 2
