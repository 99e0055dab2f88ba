"""Events survive the store, including non-finite numbers."""

import math
from typing import get_args

import pytest

from tabtune_core.events import EVENTS, Event, MemorySampled, PhaseDone, RunPlanned, StepDone, from_json, to_json

PLAN = RunPlanned("cpu", 3, 10, 2, 2, 10, 2, 4, ("a", "b"), 5, 2, ({"path": "x"},), {"model": "tabicl-mini"})


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
