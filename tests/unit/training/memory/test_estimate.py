"""The memory estimate: exact where it counts, equal to what torch keeps, never lower for a larger table."""

import dataclasses
import itertools

import pytest
import torch

from tabtune_core.data.splits import SplitSizes
from tabtune_core.lora.layers import LowRank
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.memory.estimate import Sizes, estimate_memory, step_tape
from tabtune_core.training.memory.fitting import Growth
from tabtune_core.training.step import make_optimizer
from tabtune_core.training.train_phase import checkpointed

CPU = torch.device("cpu")
PISSA = {"init_lora_weights": "pissa"}
SIZES = Sizes(
    context_rows=48, query_rows=16, features=5, classes=3, shown_rows=60, evaluation_rows=60, predicted_rows=20
)
MITRA = "autogluon.tabular.models.mitra._internal.models.tab2d"


def opened(strategy, model="tabicl-mini", **lora):
    settings = RunSettings(
        dataset="d", target="y", model=model, strategy=strategy, device="cpu", lora=LoraSettings(**lora)
    )
    loaded = load_model(get_card(model), "classification", CPU)
    if strategy == "peft":
        adapt(loaded, settings)
    loaded.module.train()
    return settings, loaded


def loss_of(model):
    torch.manual_seed(0)
    x_BTF = torch.randn(1, SIZES.context_rows + SIZES.query_rows, SIZES.features)
    y_BT = torch.arange(x_BTF.shape[1])[None] % SIZES.classes
    return model.loss(x_BTF, y_BT[:, : SIZES.context_rows], y_BT[:, SIZES.context_rows :], SIZES.classes)


def kept_bytes(model):
    """Bytes of the tensors that torch keeps for the backward pass, without parameters; each storage counts once."""
    own = {t.untyped_storage().data_ptr() for t in [*model.module.parameters(), *model.module.buffers()]}
    kept = {}

    def look(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        loss_of(model)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("model", ["tabicl-mini", "tabdpt-mini", "mitra-mini"])
@pytest.mark.parametrize(
    ("strategy", "lora"),
    [
        ("base-ft", {}),
        ("peft", {}),
        ("peft", {"use_dora": True}),
        ("peft", PISSA),
        ("peft", {"targets": ("column_embeddings",), "rank": 1}),
        ("peft", {"targets": ("late_layers",), "bias": "all"}),
    ],
    ids=str,
)
def test_the_tensors_that_autograd_keeps_are_counted(model, strategy, lora, monkeypatch):
    if model == "mitra-mini":
        monkeypatch.setattr(pytest.importorskip(MITRA), "checkpoint", lambda layer, *args, use_reentrant: layer(*args))
    settings, loaded = opened(strategy, model, **lora)
    counted = step_tape(settings, loaded.card, SIZES, on_gpu=False).peak_bytes(checkpointed=False)
    assert counted == pytest.approx(kept_bytes(loaded), rel=0.08)


@pytest.mark.parametrize("model", ["tabicl-mini", "tabdpt-mini"])
@pytest.mark.parametrize("lora", [{}, {"targets": ("column_embeddings",)}], ids=str)
def test_the_peak_of_a_recomputed_step_is_counted(model, lora):
    settings, loaded = opened("peft", model, **lora)
    with checkpointed(loaded.module, loaded.card.family.block_lists):
        loss_of(loaded).backward()  # gradients exist when the peak is measured, because they are counted separately
        with torch.profiler.profile(profile_memory=True) as profile:
            loss_of(loaded).backward()
    events = sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    peak = max(itertools.accumulate(event.nbytes() for event in events if event.name() == "[memory]"))
    counted = step_tape(settings, loaded.card, SIZES, on_gpu=False).peak_bytes(checkpointed=True)
    assert counted == pytest.approx(peak, rel=0.2)


def held_bytes(module, optimizer):
    """Counts bytes of weights, adapter, gradients and optimizer state, before the gradients of a step are deleted."""
    adapters = [layer for layer in module.modules() if isinstance(layer, LowRank)]
    own = {id(tensor): tensor for layer in adapters for tensor in (*layer.factors, *layer.beside.values())}
    parameters = list(module.parameters())
    return {
        "weights": sum(p.nbytes for p in parameters if id(p) not in own),
        "adapter": sum(t.nbytes for t in own.values()),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "optimizer": sum(
            t.nbytes for of in optimizer.state.values() for t in of.values() if isinstance(t, torch.Tensor)
        ),
    }


@pytest.mark.parametrize("model", ["tabicl-mini", "tabdpt-mini"])
@pytest.mark.parametrize(("strategy", "variant"), [("base-ft", {}), ("peft", {"use_dora": True}), ("peft", PISSA)])
def test_the_counted_parts_are_exact(model, strategy, variant):
    settings, loaded = opened(strategy, model, rank=3, **variant)
    named = [(name, p) for name, p in loaded.module.named_parameters() if p.requires_grad]
    optimizer = make_optimizer(
        named, optimizer="adamw", learning_rate=1e-4, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8
    )
    loss_of(loaded).backward()
    optimizer.step()
    held, expected = held_bytes(loaded.module, optimizer), estimate_memory(settings, loaded.card, SIZES, on_gpu=False)
    held["optimizer"] -= 4 * len(optimizer.state)  # the step counter of each tensor
    counted = {name: getattr(expected, name) for name in ("weights", "adapter", "gradients", "optimizer")}
    # of all weights, some train for the other task only
    assert held == (pytest.approx(counted, rel=0.02) if strategy == "base-ft" else counted)
    assert expected.gradients > 0


def growth(strategy="peft", sizes=SIZES, model="tabicl-v2", on_gpu=True, **lora):
    settings = RunSettings(
        dataset="d", target="y", model=model, strategy=strategy, device="cpu", lora=LoraSettings(**lora)
    )
    return estimate_memory(settings, get_card(model), sizes, on_gpu=on_gpu).growth


@pytest.mark.parametrize("model", ["tabicl-v1", "tabicl-v2", "tabdpt-1.3", "mitra-v2"])
@pytest.mark.parametrize("strategy", ["inference", "base-ft", "peft"])
def test_a_larger_table_never_needs_less_memory(model, strategy):
    more = {"context_rows": 4800, "query_rows": 1600, "features": 50, "shown_rows": 6000, "predicted_rows": 2000}
    larger = dataclasses.replace(SIZES, **more)
    assert growth(strategy, larger, model) > growth(strategy, model=model) > 0


def test_a_larger_rank_later_targets_and_the_cpu_move_the_estimate_as_they_should():
    late, blocks = growth(targets=("late_layers",)), growth(targets=("icl_predictor.tf_icl",))
    assert growth(targets=("icl_predictor.decoder",)) < late < blocks < growth(rank=2) < growth() < growth(rank=32)
    assert growth(dropout=0.0) < growth() < growth(use_dora=True)
    assert growth(on_gpu=False) > growth()


def test_growth_is_a_number_if_a_similar_run_was_measured_else_a_range():
    settings = RunSettings(dataset="d", target="y", model="tabicl-v2")
    estimate = estimate_memory(settings, get_card("tabicl-v2"), SIZES, on_gpu=False)
    number, band, small = (Growth.of(estimate, ratio) for ratio in (1.1, None, 1e-3))
    assert number.least == number.most == pytest.approx(1.1 * estimate.growth)
    assert band.least < 0.9 * estimate.growth < 1.5 * estimate.growth < band.most
    assert (small.least, small.most) == (0, 20e6)
    measured = estimate.with_growth(number.most)
    assert measured.growth == pytest.approx(number.most, rel=1e-6)
    assert (measured.weights, measured.gradients) == (estimate.weights, estimate.gradients)


def test_sizes_follow_the_split_and_the_settings():
    train = TrainSettings(context_rows=500, predict_context_rows=4000, batch_size=100, validation_rows=150)
    run = RunSettings(dataset="d", target="y", train=train)
    sizes = Sizes.plan(run, SplitSizes(6000, 2000, 2000), features=7, classes=2)
    assert (sizes.context_rows, sizes.query_rows, sizes.shown_rows) == (500, 100, 4000)
    assert (sizes.evaluation_rows, sizes.predicted_rows) == (2048, 150)
    unset = run.changed(predict_context_rows=None)
    assert Sizes.plan(unset, SplitSizes(600, 200, 200), features=7, classes=2).shown_rows == 600
