"""The runs that are queued by the button for settling a gain."""

import dataclasses

import seeding

from dashboard.views.leaderboard.run_actions import repeats
from tabtune_core.settings import LoraSettings, TrainSettings
from tabtune_core.store.runs import RunStore


def test_the_chosen_run_and_zero_shot_are_repeated_under_unused_seeds(tmp_path):
    store = RunStore(tmp_path)
    _, sweep = seeding.queue(store, seeding.sweep_settings(tmp_path, seeds=(0, 3)))
    runs = store.runs()
    chosen = next(run for run in runs if run.settings.lora.rank == 4 and run.settings.strategy == "peft")
    zero_shot = next(run for run in runs if run.settings.strategy == "inference")
    found = repeats(chosen, runs, 2)
    assert [(one.strategy, one.seed) for one in found] == [("inference", 4), ("peft", 4), ("inference", 5), ("peft", 5)]
    assert dataclasses.replace(found[1], seed=chosen.settings.seed) == chosen.settings
    assert dataclasses.replace(found[0], seed=zero_shot.settings.seed) == zero_shot.settings
    assert len(sweep) == len(runs)


def test_a_sweep_without_zero_shot_gets_it_without_lora_settings(tmp_path):
    store, settings = RunStore(tmp_path), seeding.sweep_settings(tmp_path)
    run = dataclasses.replace(settings.run, lora=LoraSettings(rank=4), train=TrainSettings(lr_ratio=4.0))
    store.add_sweep([run])
    assert repeats(store.runs()[0], store.runs(), 1)[0].strategy == "inference"


def test_after_the_largest_possible_seed_the_smallest_free_ones_are_used(tmp_path):
    store, largest = RunStore(tmp_path), 2**32 - 1
    seeding.queue(store, seeding.sweep_settings(tmp_path, seeds=(0, largest)))
    assert [one.seed for one in repeats(store.runs()[0], store.runs(), 2)[::2]] == [1, 2]
