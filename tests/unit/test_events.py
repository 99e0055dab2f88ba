"""Events survive the store, including non-finite numbers."""

import json
import math
from typing import get_args

import pytest

from tabtune_core.events import (
    EVENTS,
    Event,
    MemorySampled,
    PhaseDone,
    RunFinished,
    RunPlanned,
    StepDone,
    from_json,
    to_json,
)

PLAN = RunPlanned(
    device="cpu",
    steps=3,
    train_rows=10,
    validation_rows=2,
    test_rows=2,
    context_rows=10,
    query_rows=2,
    features=4,
    classes=("a", "b"),
    total_parameters=5,
    trainable_parameters=2,
    layers=({"path": "x"},),
    base={"model": "tabicl-mini"},
)


@pytest.mark.parametrize(
    "event", [PLAN, MemorySampled("train", 5), PhaseDone("load", 0.5, {"resident": 3, "nvml_device": None}, None)]
)
def test_an_event_reads_back_unchanged(event):
    assert from_json(*to_json(event)) == event


def test_a_non_finite_loss_survives():
    event = from_json(*to_json(StepDone(3, math.nan, math.inf, 1e-4, 0.2)))
    assert math.isnan(event.loss)
    assert event.gradient_norm == math.inf


def test_every_event_is_known_by_its_class_name():
    assert {cls.__name__: cls for cls in get_args(Event)} == EVENTS


def result_of_an_earlier_version(**extra):
    scores = {"accuracy": 0.9}
    result = RunFinished(
        "finished", 4, 20, False, scores, scores, scores, scores, 35.6, 0.3, 500, 11, "resident", 2, 5, None
    )
    kind, payload = to_json(result)
    values = json.loads(payload)
    for name in ("shared_saved_seconds", "ended_by", "shared_made", "shared_reused", "other"):
        del values[name]
    return from_json(kind, json.dumps({**values, "extra": {"reference": "", **extra}}))


def test_seconds_and_memory_measured_differently_by_an_earlier_version_are_unknown():
    warm = result_of_an_earlier_version(shared_seconds=85.0, shared_made=0, shared_reused=25)
    cold = result_of_an_earlier_version(shared_seconds=85.0, shared_made=23, shared_reused=3)
    assert [math.isnan(warm.train_seconds), math.isnan(cold.train_seconds)] == [True, True]
    assert (warm.growth_memory_bytes, cold.growth_memory_bytes) == (None, 11)


def test_an_earlier_result_of_a_training_that_shared_nothing_is_unchanged():
    for extra in ({}, {"shared_seconds": 1.0, "shared_made": 1, "shared_reused": 1}):
        result = result_of_an_earlier_version(**extra)
        assert (result.train_seconds, result.growth_memory_bytes, result.shared_saved_seconds, result.ended_by) == (
            35.6,
            11,
            0.0,
            "",
        )
