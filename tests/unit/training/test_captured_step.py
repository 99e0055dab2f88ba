"""A step for a CUDA graph. On a CPU all of it is tested but the recording: the work is simply run again instead."""

import dataclasses

import numpy as np
import pytest
import torch
from dispatched import Dispatched, as_on_a_gpu
from tiny import tiny_checkpoint

from tabtune_core.lora.half_copies import half_copies
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import FAMILIES, get_card
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.captured_step import CapturedStep, why_not
from tabtune_core.training.episodes import Episode
from tabtune_core.training.notices import capture
from tabtune_core.training.optimizer import make_optimizer, set_rate
from tabtune_core.training.step import Precision, Stepped, episode_loss, take_step

CPU, RATE = torch.device("cpu"), 2.0**-7  # exact in float32
TASKS = [("tabicl-v2", "classification"), ("tabicl-v2", "regression"), ("tabicl-v1.1", "classification")]


def again(work, device):
    """Stands in for a graph."""
    return work


def adapted(folder, name="tabicl-v2", task="classification", dropout=0.0, device=CPU):
    torch.manual_seed(0)
    model = load_model(get_card(name), task, device, tiny_checkpoint(folder / f"{name} {task}", name, task=task))
    adapt(
        model, RunSettings(dataset="d", target="y", model=name, task=task, lora=LoraSettings(rank=2, dropout=dropout))
    )
    for parameter_name, parameter in model.module.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.module.train()
    return model


def optimizer_of(model, kind="adamw", *, captured, lr_ratio=1.0):
    trained = [(name, p) for name, p in model.module.named_parameters() if p.requires_grad]
    adam = {"betas": (0.9, 0.999), "eps": 1e-8}
    return make_optimizer(
        trained, optimizer=kind, learning_rate=RATE, weight_decay=0.01, lr_ratio=lr_ratio, captured=captured, **adam
    )


def episodes(count, task="classification", classes=3):
    rng = np.random.default_rng(1)
    for _ in range(count):
        y_T = rng.permutation(np.arange(40) % classes) if task == "classification" else rng.normal(size=40)
        yield Episode(rng.normal(size=(40, 5)).astype(np.float32), y_T[:30], y_T[30:])


def captured_step(model, optimizer, *, task="classification", precision=None, clip_norm=1.0, device=CPU, **how):
    precision, classes = precision or Precision.of("off", device), 3 if task == "classification" else 0
    return CapturedStep(
        model, optimizer, classes=classes, clip_norm=clip_norm, precision=precision, device=device, **how
    )


def trained(step, optimizer, task="classification") -> list[Stepped]:
    told = []
    for i, episode in enumerate(episodes(6, task)):
        set_rate(optimizer, 2.0**-i)
        told.append(step(episode))
    return told


def plain_step(model, optimizer, classes, episode):
    optimizer.zero_grad(set_to_none=True)
    return take_step(
        episode_loss(model, episode, classes, CPU), optimizer, clip_norm=1.0, precision=Precision.of("off", CPU)
    )


@pytest.mark.parametrize(("kind", "name", "task"), [("adamw", *TASKS[0]), ("adam", *TASKS[1]), ("sgd", *TASKS[2])])
def test_losses_and_weights_are_those_of_the_plain_step(kind, name, task, tmp_path):
    ours, theirs = adapted(tmp_path, name, task), adapted(tmp_path, name, task)
    told = []
    optimizer = optimizer_of(ours, kind, captured=True, lr_ratio=4.0)
    told.append(trained(captured_step(ours, optimizer, task=task, repeat=again), optimizer, task))
    optimizer = optimizer_of(theirs, kind, captured=False, lr_ratio=4.0)
    told.append(
        trained(
            lambda episode: plain_step(theirs, optimizer, 3 if task == "classification" else 0, episode),
            optimizer,
            task,
        )
    )
    assert told[0] == told[1]
    assert len(set(told[0])) == 6
    for found, wanted in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(("name", "task"), TASKS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_within_a_step_the_host_neither_waits_for_the_device_nor_sends_it_data(dtype, name, task, tmp_path):
    model = adapted(tmp_path, name, task, dropout=0.1)
    optimizer, works, precision = (
        optimizer_of(model, captured=True),
        [],
        Precision("cpu", dtype, Precision.of("off", CPU).scaler),
    )
    step = captured_step(
        model, optimizer, task=task, precision=precision, repeat=lambda work, device: works.append(work) or work
    )
    factors = [p for parameter_name, p in model.module.named_parameters() if "lora_" in parameter_name]
    with as_on_a_gpu(), half_copies(model.module, factors, dtype):
        step(next(episodes(1, task)))
        with Dispatched() as seen:
            works[0]()
    assert (seen.waits, seen.from_host) == ([], 0)
    assert "native_dropout" in seen.kernels
    assert "_fused_adamw_" in seen.kernels


def test_dropout_goes_on_from_step_to_step(tmp_path):
    model = adapted(tmp_path, dropout=0.3)
    optimizer = optimizer_of(model, captured=True)
    step, episode = captured_step(model, optimizer, repeat=again), next(episodes(1))
    set_rate(optimizer, 0.0)  # so that the weights do not change
    assert step(episode)[0] != step(episode)[0]


def test_inputs_keep_their_addresses_and_episodes_are_not_changed(tmp_path):
    model, places = adapted(tmp_path), set()
    loss = model.loss
    model.loss = lambda *given: places.add(tuple(tensor.data_ptr() for tensor in given[:3])) or loss(*given)
    optimizer, drawn = optimizer_of(model, captured=True), list(episodes(3))
    step, before = captured_step(model, optimizer, repeat=again), [episode.x_TF.copy() for episode in drawn]
    for episode in drawn:
        step(dataclasses.replace(episode, weight_Q=np.arange(1.0, 11.0)))
    assert len(places) == 1
    assert all(np.array_equal(episode.x_TF, x_TF) for episode, x_TF in zip(drawn, before, strict=True))
    with pytest.raises(AssertionError, match="of another shape"):
        step(Episode(drawn[0].x_TF[:-1], drawn[0].y_C, drawn[0].y_Q[:-1], np.ones(9)))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_a_non_finite_loss_moves_nothing_and_the_next_step_trains(kind, tmp_path):
    """Includes the first step, when there are no moments yet."""
    ours, untouched = adapted(tmp_path), adapted(tmp_path)
    optimizer, (bad, good, _) = optimizer_of(ours, kind, captured=True), episodes(3)
    step = captured_step(ours, optimizer, repeat=again)
    assert step(dataclasses.replace(bad, x_TF=np.full_like(bad.x_TF, np.inf)))[2] == "diverged"
    for found, wanted in zip(ours.module.parameters(), untouched.module.parameters(), strict=True):
        assert torch.equal(found, wanted)
    told, expected = step(good), plain_step(untouched, optimizer_of(untouched, kind, captured=False), 3, good)
    assert told == expected
    for found, wanted in zip(ours.module.parameters(), untouched.module.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-7, rtol=0)


def test_the_fp16_scale_falls_until_the_gradient_fits(tmp_path):
    model = adapted(tmp_path)
    precision = Precision("cpu", torch.float16, torch.amp.GradScaler("cpu", init_scale=2.0**40))
    step, episode = (
        captured_step(model, optimizer_of(model, captured=True), precision=precision, repeat=again),
        next(episodes(1)),
    )
    went = [step(episode)[2] for _ in range(40)]
    assert went == sorted(went, reverse=True), "overflows first, then steps"
    assert set(went) == {"overflow", "done"}


def test_a_captured_step_gets_its_learning_rate_in_place(tmp_path):
    optimizer = optimizer_of(adapted(tmp_path), captured=True, lr_ratio=4.0)
    places = [group["lr"] for group in optimizer.param_groups]
    assert set_rate(optimizer, 0.5) == RATE / 2
    assert all(group["lr"] is place for group, place in zip(optimizer.param_groups, places, strict=True))
    assert [place.item() for place in places] == [RATE / 2, 2 * RATE]


REASONS = [
    ({"device": CPU}, "it needs an NVIDIA GPU, and the device is cpu"),
    ({"family": FAMILIES["TabDPT"]}, "TabDPT's own code decides on the CPU within a step"),
    ({"family": FAMILIES["Mitra"]}, "Mitra's own code decides on the CPU within a step"),
    ({"train": TrainSettings(cuda_graph=True, gradient_checkpointing=True)}, "activations are recomputed"),
    ({"read_from_files": True}, "the results of frozen layers are read from files"),
    ({"sizes_differ": True}, "more classes than the model, so that training episodes differ in size"),
]


@pytest.mark.parametrize(("circumstance", "reason"), REASONS)
def test_the_reason_why_a_step_cannot_be_captured_is_given(circumstance, reason):
    could = {
        "train": TrainSettings(cuda_graph=True),
        "family": FAMILIES["TabICL"],
        "device": torch.device("cuda:0"),
        "read_from_files": False,
        "sizes_differ": False,
    }
    assert why_not(**could) is None
    why = why_not(**could | circumstance)
    assert reason in why
    assert (capture(why).severity, "is not captured" in capture(why).text, why in capture(why).text) == (
        "warning",
        True,
        True,
    )
    assert "is captured" in capture(None).text


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16"])
def test_a_recorded_step_trains_like_the_plain_one(amp, gpu, tmp_path):
    losses = []
    for how in ({}, {"repeat": again}):
        model = adapted(tmp_path, device=gpu)
        optimizer = optimizer_of(model, captured=True)
        step = captured_step(model, optimizer, precision=Precision.of(amp, gpu), device=gpu, **how)
        losses.append([told[0] for told in trained(step, optimizer)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4 if amp == "off" else 2e-2)


@pytest.mark.gpu
def test_a_recorded_step_draws_new_dropout_masks(gpu, tmp_path):
    model = adapted(tmp_path, dropout=0.3, device=gpu)
    optimizer = optimizer_of(model, captured=True)
    step, episode = captured_step(model, optimizer, device=gpu), next(episodes(1))
    set_rate(optimizer, 0.0)
    assert len({step(episode)[0] for _ in range(8)}) == 8
