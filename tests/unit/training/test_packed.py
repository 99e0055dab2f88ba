"""A pack of runs: each says what it says alone, whatever the others do."""

import dataclasses
import math

import numpy as np
import pytest
from fits import fitted, losses, scores, together

from tabtune_core.errors import Cancelled
from tabtune_core.events import Note, StepDone
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.packed import PackedPass

TRAIN = TrainSettings(steps=6, eval_every=2, learning_rate=3e-3, context_rows=24, batch_size=16)
RUN = RunSettings(dataset="-", target="y", device="cpu", train=TRAIN)
LORAS = (
    LoraSettings(rank=2, dropout=0.2),
    LoraSettings(rank=8, alpha=4.0, dropout=0.0),
    LoraSettings(rank=5, dropout=0.1, use_rslora=True),
)
NEAR = {"rtol": 0, "atol": 1e-5}


def with_lora(lora, targets=(), **more):
    return dataclasses.replace(RUN, lora=dataclasses.replace(lora, targets=targets), **more)


def assert_same(told, alone):
    np.testing.assert_allclose(losses(told), losses(alone), **NEAR)
    np.testing.assert_allclose(scores(told), scores(alone), **NEAR)


@pytest.mark.parametrize(
    ("targets", "task"),
    [((), "classification"), (("icl_predictor",), "classification"), (("icl_predictor.tf_icl.blocks.3",), "regression")],
)
def test_each_run_says_what_it_says_alone(targets, task, tmp_path):
    runs = [with_lora(lora, targets, task=task) for lora in LORAS]
    runs[1] = dataclasses.replace(runs[1], train=dataclasses.replace(TRAIN, learning_rate=1e-3))
    found = together(runs, tmp_path)
    for place, settings in enumerate(runs):
        alone, result = fitted(settings, tmp_path / f"alone-{place}")
        assert_same(found[place][0], alone)
        assert found[place][1].best_step == result.best_step
    for events, _ in found:
        assert np.abs(np.subtract(scores(events)[0], scores(events)[-2])).max() > 1e-4, "nothing was trained"
    assert abs(losses(found[0][0])[-1] - losses(found[1][0])[-1]) > 1e-4, "the runs cannot be told apart"


def test_one_that_stops_or_is_cancelled_leaves_the_others_as_they_are(tmp_path):
    def after(step, wanted):
        return lambda events: wanted if len(losses(events)) >= step else None

    runs = [with_lora(lora) for lora in LORAS]
    (cancelled, error), (stopped, result), (rest, _) = together(runs, tmp_path, {0: after(1, "cancel"), 1: after(3, "stop")})
    assert isinstance(error, Cancelled)
    assert (len(losses(cancelled)), len(losses(stopped)), result.outcome) == (1, 3, "stopped")
    assert_same(rest, fitted(runs[2], tmp_path / "alone")[0])


def test_one_that_was_stopped_and_is_then_cancelled_does_not_wait_for_the_others(tmp_path):
    done, cancelled_at = [0], []

    def stop_then_cancel(events):
        if len(losses(events)) >= 2 and done[0] >= 4:
            cancelled_at.append(done[0])
        return "cancel" if cancelled_at else "stop" if len(losses(events)) >= 2 else None

    def count(events):
        done[0] = len(losses(events))

    runs = [with_lora(lora) for lora in LORAS[:2]]
    (cancelled, error), (rest, _) = together(runs, tmp_path, {0: stop_then_cancel, 1: count})
    assert isinstance(error, Cancelled)
    assert (len(losses(cancelled)), cancelled_at[0]) == (2, 4)
    assert len(losses(rest)) > 4
    assert_same(rest, fitted(runs[1], tmp_path / "alone")[0])


def test_time_and_memory_are_said_to_be_the_packs(tmp_path):
    (told, one), (_, other) = together([with_lora(lora) for lora in LORAS[:2]], tmp_path)
    assert math.isnan(one.train_seconds)
    assert (one.growth_memory_bytes, one.peak_memory_bytes, one.extra["memory_by_cause_bytes"]) == (None, None, None)
    assert one.extra["pack"] == other.extra["pack"]
    assert one.extra["pack"]["runs"] == 2
    assert one.extra["pack"]["train_seconds"] >= max(event.seconds for event in told if isinstance(event, StepDone))
    assert any("Measured for the pack of 2 runs that trained together: " in event.text for event in told if isinstance(event, Note))


def test_what_goes_wrong_in_the_common_pass_is_told_by_all(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(PackedPass, "losses", full)
    assert [str(result) for _, result in together([with_lora(lora) for lora in LORAS], tmp_path)] == ["out of memory"] * 3
