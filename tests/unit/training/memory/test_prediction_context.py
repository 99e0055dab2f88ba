"""The number of context rows for predictions when none is given."""

import dataclasses

import pytest

from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.training.memory.estimate import ALWAYS, LEAST, MOST, with_shown_rows

RUN = RunSettings(dataset="d", target="y")
PLENTY = 10**15


def shown(model="tabicl-mini", *, features=16, memory_bytes=PLENTY, on_gpu=False, **train):
    settings = dataclasses.replace(RUN, model=model, train=TrainSettings(**train))
    return with_shown_rows(
        settings, features=features, memory_bytes=memory_bytes, on_gpu=on_gpu
    ).train.predict_context_rows


@pytest.mark.parametrize(
    ("model", "rows"), [("tabicl-mini", 8192), ("tabdpt-mini", 8192), ("mitra-mini", 4096), ("tabicl-v2", 2048)]
)
def test_on_a_cpu_time_limits_the_rows(model, rows):
    assert shown(model) == rows


def test_a_requested_number_is_kept_and_a_slow_model_still_gets_the_default_rows():
    assert shown(predict_context_rows=300_000, memory_bytes=1) == 300_000
    assert shown("mitra-v2", features=400) == ALWAYS


def test_a_gpu_gets_more_rows_up_to_the_models_limit():
    assert shown("tabicl-v2", on_gpu=True) > 10 * shown("tabicl-v2")
    assert shown("mitra-mini", features=2, on_gpu=True) == 10_000


def test_less_memory_gives_fewer_rows_but_never_none():
    numbers = [shown(features=200, memory_bytes=gigabytes * 10**9) for gigabytes in (1, 2, 4, 8)]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]
    assert shown(memory_bytes=1) == LEAST < MOST
