"""The frozen first parts of a model run once per input, with the same numbers as without a cache."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, needs, tiny_checkpoint
from torch import nn

from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.stages import stages_of
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.episodes import EpisodeSize, draw_episodes
from tabtune_core.training.prefix_cache import SharedPrefix, frozen_stages
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.step import episode_loss
from tabtune_core.training.train_phase import checkpointed

CPU = torch.device("cpu")


FAMILIES = {CATALOGUE[name].family.name: (name, task) for name, task in ARCHITECTURES if task == "classification"}


@pytest.fixture(scope="module", params=[*FAMILIES.values(), ("tabicl-v2", "regression")], ids="-".join)
def case(request, tmp_path_factory):
    name, task = request.param
    needs(name)
    return name, task, tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", name, task=task)


def opened(case, *, seed=1, **lora):
    """Opens a model with adapters on its last block and head, or as given; B is made non-zero in every adapter."""
    name, task, path = case
    family = CATALOGUE[name].family
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = load_model(CATALOGUE[name], task, CPU, path)
        usual = {"rank": 2, "dropout": 0.0, "targets": (f"{family.late_blocks}.1", *family.head)}
        adapt(model, RunSettings(dataset="d", target="y", task=task, model=name, lora=LoraSettings(**usual | lora)))
        for path, parameter in model.module.named_parameters():
            if parameter.requires_grad and "lora_B" in path:
                nn.init.normal_(parameter, std=0.3)
    return model


def rows_of(model, task, rows=60, features=5):
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(rows, features))
    signal = x_NF[:, 0] + 0.1 * rng.normal(size=rows)
    y_N = np.argsort(np.argsort(signal)) * 3 // rows if task == "classification" else 5 + signal
    return model.fit_preprocessing(x_NF)(x_NF), y_N, 3 if task == "classification" else 0


def steps(model, task, count=2):
    """Losses and gradients of the first episodes, and predictions; dropout masks are the same on every call."""
    x_NF, y_N, classes = rows_of(model, task)
    episodes = draw_episodes(
        x_NF, y_N, classes, EpisodeSize.plan(60, batch_size=12, context_rows=40), np.random.default_rng(3)
    )
    model.module.train()
    found = []
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        for _, episode in zip(range(count), episodes, strict=False):
            model.module.zero_grad()
            loss = episode_loss(model, episode, classes, CPU)
            loss.backward()
            found.append(loss.detach())
            found += [p.grad.clone() for p in model.module.parameters() if p.requires_grad]
    found.append(torch.from_numpy(Scorer(x_NF[:40], y_N[:40], classes, 2).predict(model, x_NF[40:])))
    return found


def prefix_of(model, folder, **more):
    return SharedPrefix(model.module, stages_of(model.card.family, model.module), SharedArrays(folder, **more))


VARIANTS = {
    "plain": ({}, False),
    "dropout, recomputed": ({"dropout": 0.3}, True),
    "DoRA, biases and dropout": ({"use_dora": True, "bias": "lora_only", "dropout": 0.3}, False),
    "head alone, recomputed": ({"rank": 1}, True),
}
"""What is trained, and whether activations are recomputed."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_gradients_and_predictions_are_the_same(case, tmp_path, variant):
    family, (lora, recompute) = CATALOGUE[case[0]].family, VARIANTS[variant]
    alone = variant.startswith("head alone")
    lora = {**lora, "targets": family.head} if alone else lora
    expected, model = steps(opened(case, **lora), case[1]), opened(case, **lora)
    prefix = prefix_of(model, tmp_path)
    assert prefix.cut == f"{family.late_blocks}.{int(alone)}"
    with checkpointed(model.module, family.block_lists) if recompute else nullcontext(), prefix.use():
        torch.testing.assert_close(steps(model, case[1]), expected, atol=1e-6, rtol=1e-6)
        assert prefix.arrays.reused == 0 < prefix.arrays.made
        torch.testing.assert_close(steps(model, case[1]), expected, atol=1e-6, rtol=1e-6)
    assert prefix.arrays.made == prefix.arrays.reused


def test_cached_results_are_not_computed_again(case, tmp_path):
    model = opened(case)
    ran = []
    frozen_norm(model).register_forward_hook(lambda *_: ran.append(1))
    with prefix_of(model, tmp_path).use():
        steps(model, case[1])
    often = len(ran)
    assert often
    with prefix_of(model, tmp_path).use():  # a second run
        steps(model, case[1])
    assert len(ran) == often
    steps(model, case[1])  # outside the context the model is unchanged
    assert len(ran) > often


def frozen_norm(model):
    """Returns a layer inside the last frozen part."""
    start = f"{model.card.family.late_blocks}.0."
    return next(module for name, module in model.module.named_modules() if name.startswith(start) and "norm" in name)


def test_a_full_folder_gives_the_same_peaks_as_an_empty_one(case, tmp_path, monkeypatch):
    """On a fake meter: a frozen layer takes as much memory as its input; steps and evaluations have separate peaks."""
    monkeypatch.setattr("tabtune_core.training.prefix_cache.STEPS_IN_FULL", 2)
    model, taken = opened(case), []
    frozen_norm(model).register_forward_hook(lambda module, given, _: taken.append((module.training, given[0].numel())))

    def run():
        taken.clear()
        prefix = prefix_of(model, tmp_path)
        prefix.begin_in_full()
        with prefix.use():
            steps(model, case[1], count=5)
        sizes = {training: [size for when, size in taken if when is training] for training in (True, False)}
        return {of: max(its) for of, its in sizes.items()}, {of: len(its) for of, its in sizes.items()}

    (cold, often), (warm, seldom) = run(), run()
    assert warm == cold
    assert seldom[True] == often[True] * 2 / 5
    assert 0 < seldom[False] < often[False]


@pytest.mark.parametrize("in_full", [False, True], ids=["files first", "in full at first"])
def test_a_run_has_the_same_seconds_with_an_empty_folder_and_with_a_full_one(case, tmp_path, in_full):
    """On a fake clock: a frozen layer takes 8 seconds, the head takes one."""
    model, now = opened(case), [0.0]
    for module, seconds in ((frozen_norm(model), 8.0), (model.module.get_submodule(model.card.family.head[0]), 1.0)):
        module.register_forward_hook(lambda *_, seconds=seconds: now.__setitem__(0, now[0] + seconds))

    def run():
        prefix = prefix_of(model, tmp_path, clock=OwnClock(lambda: now[0]))
        if in_full:
            prefix.begin_in_full()
        began = now[0]
        with prefix.use():
            steps(model, case[1], count=10)
        clock = prefix.arrays.clock
        return clock.seconds, now[0] - began, clock.charged_seconds

    (cold, cold_wall, cold_charged), (warm, warm_wall, charged) = run(), run()
    assert cold == cold_wall == warm > warm_wall
    assert (cold_charged, charged) == (0, warm - warm_wall)


@pytest.mark.parametrize("what", ["biases everywhere", "everything", "the first block"])
def test_training_an_earlier_part_moves_the_cut(case, what):
    blocks = CATALOGUE[case[0]].family.late_blocks
    lora = {"biases everywhere": {"bias": "all"}, "the first block": {"targets": (f"{blocks}.0",)}}.get(what, {})
    model = opened(case, **lora)
    if what == "everything":
        model.module.requires_grad_(True)
    shared = [stage.path for stage in frozen_stages(model.module, stages_of(model.card.family, model.module).every)]
    assert not any(path.startswith(blocks) for path in shared)
    assert not any(p.requires_grad for path in shared for p in model.module.get_submodule(path).parameters())


CUTS = {
    ("tabicl-mini", "icl_predictor"): "row_interactor",
    ("tabicl-mini", "late_layers"): "icl_predictor.tf_icl.blocks.5",
    ("tabicl-mini", "row_interactor"): "col_embedder",
    ("tabdpt-mini", "late_layers"): "transformer_encoder.5",
    ("tabdpt-mini", "transformer_encoder"): None,
    ("mitra-mini", "late_layers"): "layers.2",
}
"""The last stage that is computed once, by LoRA target, as the documentation lists them."""


@pytest.mark.parametrize(("name", "target"), CUTS, ids="-".join)
def test_the_cut_lies_where_the_documentation_says(tmp_path, name, target):
    needs(name)
    model, lora = (
        load_model(CATALOGUE[name], "classification", CPU),
        LoraSettings(rank=1, dropout=0.0, targets=(target,)),
    )
    adapt(model, RunSettings(dataset="d", target="y", model=name, lora=lora))
    assert prefix_of(model, tmp_path).cut == CUTS[name, target]


def test_parts_that_draw_at_random_are_not_shared_and_nothing_is_if_an_unknown_weight_trains(case):
    model, blocks = opened(case), CATALOGUE[case[0]].family.late_blocks
    every = stages_of(model.card.family, model.module).every
    assert frozen_stages(model.module, every)[-1].path == f"{blocks}.0"
    model.module.get_submodule(f"{blocks}.0").more = nn.Dropout(0.1)
    assert all(not stage.path.startswith(blocks) for stage in frozen_stages(model.module, every))
    model.module.register_parameter("unheard_of", nn.Parameter(torch.zeros(2)))
    assert frozen_stages(model.module, every) == []
