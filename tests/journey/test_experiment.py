"""One run from the table to the adapter, in this process, with a small table and a model of the package."""

import dataclasses
import io
import zipfile
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
from runs_here import of, run_here
from tiny import tiny_checkpoint

from tabtune_core import load_adapter, read_table
from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.errors import AdapterError, Cancelled, DeviceError
from tabtune_core.events import Evaluated, MemorySampled, Note, PhaseDone, RunPlanned, StepDone
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings

ROWS = 120


def mixed_csv(rows=ROWS, seed=0):
    """Numbers and a category with missing values, a date, free text, and a text target that depends on the first two."""
    rng = np.random.default_rng(seed)
    size, colour = rng.normal(size=rows), rng.choice(["red", "green", "blue"], rows)
    frame = pd.DataFrame({"size": np.where(rng.random(rows) < 0.1, np.nan, size.round(4))})
    frame["colour"] = np.where(rng.random(rows) < 0.05, None, colour)
    frame["seen"] = pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d")
    frame["remark"] = [f"remark number {i} of many" for i in range(rows)]
    score = size + 2 * (colour == "red") + 0.3 * rng.normal(size=rows)
    return frame.assign(verdict=np.where(score > 0.5, "keep it", "drop it")).to_csv(index=False).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("made") / "home"


@pytest.fixture(scope="module")
def settings(home):
    dataset = add_dataset(home, mixed_csv(), "mixed.csv")
    train = TrainSettings(steps=12, eval_every=4, learning_rate=5e-3)
    return RunSettings(dataset=dataset.id, target="verdict", lora=LoraSettings(rank=4), train=train, device="cpu")


HERE = SimpleNamespace(call=lambda function, **named: function(**named))
"""Verifies a package in this process, for tests that are not about the fresh one."""
run = partial(run_here, fresh=HERE)


@pytest.fixture(scope="module")
def done(settings, home):
    """A run with unchanged settings, whose package is verified in a fresh process."""
    return run(settings, home, fresh=None)


@pytest.mark.parametrize("variant", [{"use_dora": True}, {"init_lora_weights": "pissa"}], ids=str)
def test_the_tensors_of_an_adapter_take_the_announced_bytes(settings, home, variant, unverified):
    lora = LoraSettings(rank=4, targets=("late_layers",), bias="lora_only", **variant)
    _, _, folder = run(dataclasses.replace(settings, lora=lora, train=TrainSettings(steps=1)), home)
    with zipfile.ZipFile(folder / "adapter.zip") as archive:
        tensors = safetensors.torch.load(archive.read("adapter_model.safetensors"))
    size = adapter_size(get_card("tabicl-mini"), "classification", lora)
    announced = 4 * (size.trainable + size.frozen)
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) == announced > 0


def test_lora_trains_only_its_factors_and_keeps_everything_it_measured(settings, home, done):
    result, events, folder = done
    plan = of(RunPlanned, events)[0]
    assert (plan.train_rows, plan.validation_rows, plan.test_rows, plan.classes) == (72, 24, 24, ("drop it", "keep it"))
    assert plan.trainable_parameters == sum(layer["parameters"] for layer in plan.layers)
    assert plan.total_parameters - plan.trainable_parameters == 1_257_790
    assert [e.phase for e in of(PhaseDone, events)] == ["load", "zero-shot", "train", "evaluate", "save"]
    assert len(of(StepDone, events)) == 12
    assert of(MemorySampled, events)
    assert [e.step for e in of(Evaluated, events) if e.split == "validation"] == [0, 4, 8, 12]
    assert result.validation["log_loss"] <= result.zero_shot_validation["log_loss"], "never worse than zero-shot"
    assert result.adapter_verified is True
    assert (result.memory_meter, result.growth_memory_bytes > 0) == ("resident", True)
    assert result.peak_memory_bytes > result.growth_memory_bytes
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert predictions.groupby("split").size().to_dict() == {"test": 24, "validation": 24}
    test = predictions[predictions["split"] == "test"]
    assert np.mean(test["label"] == test["predicted"]) == pytest.approx(result.test["accuracy"])
    np.testing.assert_allclose(test[["prob_0", "prob_1"]].sum(axis=1), 1, atol=1e-6)
    truth = load_frame(home, settings.dataset)["verdict"]
    assert (truth.iloc[test["row"]].to_numpy() == test["label"].to_numpy()).all()


def test_pissa_starts_from_exactly_loras_zero_shot_and_its_package_is_verified(settings, home, done):
    plain = done[0]
    slower = settings.changed(learning_rate=5e-4, init_lora_weights="pissa")  # faster ones do not improve on zero-shot
    result, events, _ = run(slower, home)
    assert result.zero_shot_validation == plain.zero_shot_validation == of(Evaluated, events)[0].scores
    assert result.zero_shot_test == plain.zero_shot_test
    assert (result.adapter_verified, result.trainable_parameters) == (True, plain.trainable_parameters)
    assert result.best_step > 0
    assert any("PiSSA decomposes" in note.text for note in of(Note, events))


def test_an_adapter_changes_the_base_and_knows_its_context_and_its_base(settings, home, done, tmp_path):
    result, _, folder = done
    assert result.best_step > 0, "the table is made so that training helps"
    adapted = load_adapter(folder / "adapter.zip", device="cpu")
    table = read_table(mixed_csv(), adapted.reading).frame
    context, test = adapted.context(table), table.iloc[adapted.split(table).test]
    zero_shot, _, zero_folder = run(dataclasses.replace(settings, strategy="inference"), home)
    saved = pd.read_parquet(zero_folder / "predictions.parquet").query("split == 'test'")
    base = saved[["prob_0", "prob_1"]].to_numpy()
    assert np.abs(adapted.predict_proba(test, context=context) - base).max() > 1e-3
    with pytest.raises(AdapterError, match="their content has another hash"):
        adapted.context(table.assign(size=table["size"] + 1))
    with pytest.raises(AdapterError, match="trained on weights with the SHA-256"):
        load_adapter(folder / "adapter.zip", checkpoint=tiny_checkpoint(tmp_path / "other.ckpt"))
    assert len(adapted.predict(test, context=adapted.new_context(table.iloc[:50]))) == len(test)


@pytest.mark.parametrize(("by", "column"), [("time", "seen"), ("group", "who")])
def test_a_split_by_a_column_is_followed_from_the_table_to_the_adapter(home, by, column):
    frame = pd.read_csv(io.BytesIO(mixed_csv()), keep_default_na=False)
    frame = frame.sample(frac=1.0, random_state=3, ignore_index=True)
    csv = frame.assign(who=[f"p{i % 20}" for i in range(ROWS)]).to_csv(index=False).encode()
    dataset = add_dataset(home, csv, "mixed.csv")
    train = TrainSettings(steps=4, eval_every=2, class_weights="balanced")
    what = {"dataset": dataset.id, "target": "verdict", "device": "cpu", "train": train}
    result, events, folder = run(RunSettings(**what, split_by=by, split_column=column), home)
    assert result.adapter_verified is True
    assert f"Split by {by} on '{column}': trains on" in of(Note, events)[0].text
    saved, adapted = pd.read_parquet(folder / "predictions.parquet"), load_adapter(folder / "adapter.zip")
    table = load_frame(home, dataset.id)
    split = adapted.split(table)
    for part in ("validation", "test"):
        assert saved.loc[saved["split"] == part, "row"].tolist() == getattr(split, part).tolist()
    parts = [table[column].iloc[rows] for rows in (split.train, split.validation, split.test)]
    if by == "time":
        assert parts[0].max() < parts[1].min() <= parts[1].max() < parts[2].min()
    else:
        assert sum(part.nunique() for part in parts) == 20
    assert ("who" in adapted.facts.features) == (by == "time")
    context = adapted.context(table.drop(columns="who") if by == "group" else table)
    assert len(context.y_C) == of(RunPlanned, events)[0].context_rows


def test_runs_that_share_a_seed_share_rows_and_zero_shot_and_the_same_settings_give_the_same_run(
    settings, home, done, unverified
):
    first, events, one = done
    again = run(settings, home)[1]
    assert [e.loss for e in of(StepDone, events)] == pytest.approx([e.loss for e in of(StepDone, again)], abs=1e-6)
    second, _, two = run(dataclasses.replace(settings, strategy="base-ft"), home)
    assert first.zero_shot_test == second.zero_shot_test
    rows = [pd.read_parquet(folder / "predictions.parquet")["row"].tolist() for folder in (one, two)]
    assert rows[0] == rows[1]
    assert second.trainable_parameters > 600_000
    assert second.adapter_bytes is None


def test_a_run_that_gains_nothing_returns_zero_shot_and_says_so(settings, home, unverified):
    result, events, _ = run(settings.changed(learning_rate=1.0), home)
    assert result.best_step == 0
    assert result.test == pytest.approx(result.zero_shot_test)
    assert any("No improvement over zero-shot" in note.text for note in of(Note, events))


def test_stop_keeps_the_best_state_and_cancel_keeps_nothing(settings, home, unverified):
    looks = iter(range(100))
    result, _, folder = run(settings, home, stop_request=lambda: "stop" if next(looks) >= 6 else None)
    assert (result.outcome, result.steps_done) == ("stopped", 6)
    assert (folder / "adapter.zip").exists()
    with pytest.raises(Cancelled):
        run(settings, home, stop_request=lambda: "cancel")


def test_a_gpu_that_is_gone_is_named(settings, home):
    with pytest.raises(DeviceError, match="The device 'cuda:7' was requested, but torch sees"):
        run(dataclasses.replace(settings, device="auto"), home, given="cuda:7")
