"""The Python shown on a page produces the same settings and runs them."""

import dataclasses
import sys

import pandas as pd
import pytest
import seeding

from dashboard.views.new_run.text_panel import python_code
from tabtune_core.analysis import launch_checks
from tabtune_core.cli import terminal
from tabtune_core.data.datasets import add_sample
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

ODD = SweepSettings(
    run=RunSettings(
        dataset="d",
        target='odd "name"\n{x}',
        checkpoint="c:\\weights",
        lora=LoraSettings(use_dora=True, rank_pattern={"decoder": 2}),
        train=TrainSettings(steps=3, betas=(0.8, 0.9), selection_metric="accuracy"),
    ),
    ranks=(1, 3),
    dropouts=(0.0, 0.1),
    target_sets=((), ("a", "b")),
    zero_shot=False,
    references=False,
    seeds=(3,),
)


@pytest.mark.parametrize("sweep", [SweepSettings(run=RunSettings(dataset="d", target="t")), ODD], ids=["plain", "odd"])
def test_the_code_produces_the_settings_of_the_form(sweep, tmp_path):
    made = {"__name__": "not main"}
    exec(python_code(sweep, 'it\'s "odd"', tmp_path), made)
    assert made["sweep"] == sweep


def test_the_code_runs_the_sweep_and_prints_its_leaderboard(tmp_path, monkeypatch, capsys):
    run = RunSettings(dataset=add_sample(tmp_path, "breast_cancer").id, target="diagnosis")

    def carried_out(store, sweep):
        for one in store.runs(sweep):
            seeding.finish(seeding.FakeRun(store, one.settings, one.id))
        return store.runs(sweep)

    monkeypatch.setattr(terminal, "follow", carried_out)
    sweep = dataclasses.replace(ODD, run=run, seeds=(0,), target_sets=())
    with pd.option_context("display.width", 200):
        exec(python_code(sweep, "from code", tmp_path), {"__name__": "__main__"})
    assert [found.name for found in RunStore(tmp_path).sweeps()] == ["from code"]
    printed = capsys.readouterr().out
    assert all(
        name in printed
        for name in ("Full fine-tuning", "LoRA r=1, dropout 0", "LoRA r=3, dropout 0.1", "validation_log_loss")
    )


def test_on_a_cluster_the_code_requests_the_clusters_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(launch_checks, "count_cards", lambda: 0)
    run = RunSettings(
        dataset=add_sample(tmp_path, "breast_cancer").id, target="diagnosis", train=TrainSettings(amp="bf16")
    )
    monkeypatch.setattr(terminal, "follow", lambda store, sweep: sys.exit("queued"))
    for gpus, said in ((None, "needs a CUDA GPU"), (2, "queued")):
        with pytest.raises(SystemExit, match=said):
            exec(python_code(SweepSettings(run=run), "n", tmp_path, gpus), {"__name__": "__main__"})
