"""Disk space that runs will need, computed before they start."""

import dataclasses
from pathlib import Path

import pytest

from tabtune_core.data.splits import SplitSizes
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.memory import fitting
from tabtune_core.training.memory.fitting import RUN_BYTES, disk_need, no_room

CARD, SPLIT = get_card("tabicl-mini"), SplitSizes(train=600, validation=100, test=300)
RUN = RunSettings(dataset="d", target="y", model="tabicl-mini")
WEIGHTS = 4 * CARD.weights_for("classification").total_parameters
PREDICTIONS = 2 * 8 * 400 * 3


def need(*runs, **more):
    return disk_need(runs, CARD, SPLIT, classes=2, **more)


def test_full_fine_tuning_needs_its_best_and_last_states_while_it_trains():
    full = need(RUN.with_strategy("base-ft"))
    assert (full.kept, full.meanwhile) == (RUN_BYTES + PREDICTIONS, 9 * WEIGHTS)


def test_an_adapter_counts_by_rank_and_runs_train_one_at_a_time():
    low, high = (dataclasses.replace(RUN, strategy="peft", lora=LoraSettings(rank=rank)) for rank in (2, 16))
    both = need(low, high, times=3)
    bytes_of = {run.lora.rank: adapter_size(CARD, "classification", run.lora).tensor_bytes for run in (low, high)}
    assert both.kept == 3 * (2 * (RUN_BYTES + PREDICTIONS) + sum(bytes_of.values()))
    assert both.meanwhile == need(high).meanwhile == 9 * bytes_of[16] > need(low).meanwhile
    assert both.bytes == both.kept + both.meanwhile
    assert need(RUN.with_strategy("inference")).meanwhile == 0


@pytest.mark.parametrize(("free", "refused"), [(10**12, False), (10**6, True)])
def test_runs_are_refused_when_the_disk_is_too_full(monkeypatch, free, refused):
    monkeypatch.setattr(fitting, "disk_of", lambda path: (free, 10**13))
    told = no_room(need(RUN.with_strategy("base-ft")), Path("/home/lab"))
    assert (told is not None) is refused
    if told:
        assert (
            "on the disk of /home/lab, as estimated (" in told
            and "1.0 MB are free. Delete runs, or start fewer" in told
        )
