"""Whole fits on a GPU equal those on the CPU, stay on their GPU, and leave the caller's random state unchanged."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch
from small_table import small_table

from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_rows
from tabtune_core.devices import gpu_module, random_states
from tabtune_core.events import Evaluated, StepDone
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.session import Environment, Plan

pytestmark = pytest.mark.gpu
TRAIN = TrainSettings(steps=4, eval_every=4, learning_rate=3e-3, context_rows=24, batch_size=16)
LORA = LoraSettings(rank=3, dropout=0.0)
NEAR = {"rtol": 0, "atol": 2e-5}
WAITS_OF_FILES = 5
"""One for the loss, two for the inputs that are hashed, and two for what is kept: a wait and a copy."""


def settings(model="tabicl-mini", *, train=None, lora=None, **more):
    return RunSettings(
        **{"dataset": "-", "target": "y", "model": model, "device": "cpu", **more},
        train=dataclasses.replace(TRAIN, **train or {}),
        lora=dataclasses.replace(LORA, **lora or {}),
    )


CASES = {
    "TabICL, recomputed, weighted": settings(train={"gradient_checkpointing": True, "class_weights": "balanced"}),
    "TabICL, late layers from files, numbers": settings(
        task="regression", train={"episode_set": 2}, lora={"targets": ("icl_predictor",)}
    ),
    "TabICL, all weights, SGD": settings(strategy="base-ft", train={"optimizer": "sgd"}),
    "TabDPT, DoRA, three views": settings("tabdpt-mini", train={"views": 3}, lora={"use_dora": True}),
    # a low rate: the first steps of Adam are as long as it, even where only rounding decides their sign
    "TabDPT, numbers": settings("tabdpt-mini", task="regression", strategy="base-ft", train={"learning_rate": 3e-4}),
    "Mitra, PiSSA, fewer rows shown": settings(
        "mitra-mini", train={"predict_context_rows": 20}, lora={"init_lora_weights": "pissa"}
    ),
    "Mitra, rsLoRA with biases, numbers": settings(
        "mitra-mini", task="regression", lora={"use_rslora": True, "bias": "lora_only"}
    ),
}


CPU = torch.device("cpu")


def fitted(settings, folder, *, device=CPU, stop_request=lambda events: None):
    frame, words = small_table(80)
    y = words if settings.task == "classification" else np.random.default_rng(0).normal(size=80)
    y_N, rows = read_labels(y, 80), read_rows(frame)
    labels, events = Labels.of(y_N, settings.task), []
    folder.mkdir()
    with MemoryMeter(device, events.append) as meter:
        environment = Environment(
            meter=meter,
            folder=folder,
            emit=events.append,
            stop_request=lambda: stop_request(events),
            shared=folder.parent / f"shared {device.type}",
        )
        plan = Plan.of(settings, features=rows.shape[1], device=device)
        prepare = partial(prepare_arrays, rows, y_N, labels, settings, max_classes=None)
        return events, fit(plan, prepare, environment).result


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def scores(events):
    return [list(event.scores.values()) for event in events if isinstance(event, Evaluated)]


def noting(device, seen, run=""):
    """Records, before each step, what the host has waited for so far; a real GPU does not count it."""
    waits = getattr(gpu_module(device), "waits", lambda: math.nan)
    return lambda events: (seen.setdefault((run, len(losses(events))), waits()), None)[1]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_fit_equals_the_cpus_keeps_the_random_state_and_waits_once_per_step(case, gpu, tmp_path):
    seen = {}
    with torch.random.fork_rng([gpu], device_type=gpu.type):
        torch.manual_seed(5)
        before = random_states(gpu)
        events, result = fitted(case, tmp_path / "gpu", device=gpu, stop_request=noting(gpu, seen))
        expected, cpu = fitted(case, tmp_path / "cpu")
        assert all(torch.equal(states, before[name]) for name, states in random_states(gpu).items())
    assert seen["", 3] - seen["", 2] == (WAITS_OF_FILES if case.train.episode_set else 1) or gpu.type == "cuda"
    np.testing.assert_allclose(losses(events), losses(expected), **NEAR)
    np.testing.assert_allclose(scores(events), scores(expected), **NEAR)
    np.testing.assert_allclose(list(result.test.values()), list(cpu.test.values()), **NEAR)
    assert (result.memory_meter, result.growth_memory_bytes > 0) == ("torch_allocated", True)


def test_dropout_on_a_gpu_depends_on_the_seed(gpu, tmp_path):
    seen = {}
    scored = {
        name: losses(
            fitted(
                settings(lora={"dropout": dropout}), tmp_path / name, device=gpu, stop_request=noting(gpu, seen, name)
            )[0]
        )
        for name, dropout in (("once", 0.3), ("again", 0.3), ("without", 0.0))
    }
    assert seen["once", 3] - seen["once", 2] == 1 or gpu.type == "cuda"
    assert scored["once"] == pytest.approx(scored["again"], abs=1e-5)
    assert scored["once"] != pytest.approx(scored["without"], abs=1e-4)
