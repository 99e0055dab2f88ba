"""Promises of every registered model for each of its tasks, on small random checkpoints of the same format."""

import numpy as np
import pytest
import torch
from tiny import CASES, needs, tiny_checkpoint

from tabtune_core.lora.inject import dead_adapters, load_factors, merged_copy
from tabtune_core.lora.package import factor_tensors
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.episodes import EpisodeSize, draw_episodes
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.step import episode_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request, tmp_path_factory):
    name, task = request.param
    needs(name)
    return name, task, tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny", name, task=task)


def opened(case, *, lora=None, live=False):
    name, task, path = case
    model = load_model(CATALOGUE[name], task, CPU, path)
    lora = lora or LoraSettings(rank=2, dropout=0.0)
    report = adapt(model, RunSettings(dataset="d", target="y", task=task, model=name, lora=lora))
    if live:
        move(model)
    return model, report


def move(model):
    """Moves every adapter: B starts at zero, and most tests below would pass trivially."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.module.named_parameters():
        if parameter.requires_grad and "lora" in name:
            with torch.no_grad():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def table(task, rows=40, features=5, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    x_NF = rng.normal(size=(rows, features))
    signal = x_NF[:, 0] + 0.1 * rng.normal(size=rows)
    y_N = np.argsort(np.argsort(signal)) * classes // rows if task == "classification" else 5 + signal
    return x_NF, y_N, classes if task == "classification" else 0


def predicted(model, x_NF, y_N, classes, *, context=30, views=1, rows_at_once=100):
    normalise = model.fit_preprocessing(x_NF[:context])
    scorer = Scorer(normalise(x_NF[:context]), y_N[:context], classes, views, rows_at_once)
    return scorer.predict(model, normalise(x_NF[context:]))


def loss_of(model, task, *, rows=40, classes=3):
    x_NF, y_N, classes = table(task, rows, classes=classes)
    normalise = model.fit_preprocessing(x_NF)
    size = EpisodeSize.plan(rows, batch_size=10, context_rows=100)
    episode = next(draw_episodes(normalise(x_NF), y_N, classes, size, np.random.default_rng(0)))
    model.module.train()
    return episode_loss(model, episode, classes, CPU)


def test_a_fresh_adapter_changes_nothing(case):
    data = table(case[1])
    plain = load_model(CATALOGUE[case[0]], case[1], CPU, case[2])
    plain.module.requires_grad_(False)  # as for every prediction: torch sums in another order if a weight may train
    np.testing.assert_array_equal(predicted(opened(case)[0], *data), predicted(plain, *data))


def test_every_adapter_gets_a_gradient_and_nothing_else_moves(case):
    model, report = opened(case, live=True)
    before = {name: value.clone() for name, value in model.module.state_dict().items() if "lora_" not in name}
    optimizer = torch.optim.AdamW([p for p in model.module.parameters() if p.requires_grad], lr=0.01)
    loss_of(model, case[1]).backward()
    assert dead_adapters(model.module, report) == []
    optimizer.step()
    after = model.module.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []


def test_a_saved_adapter_loads_into_a_model_with_another_start(case):
    model, report = opened(case, live=True)
    data, saved = table(case[1]), factor_tensors(model.module, report)
    with torch.random.fork_rng([]):
        torch.manual_seed(99)
        other, other_report = opened(case)
    assert not np.array_equal(predicted(other, *data), predicted(model, *data))
    load_factors(other.module, other_report, saved)
    np.testing.assert_array_equal(predicted(other, *data), predicted(model, *data))


def test_merged_weights_predict_like_the_adapter_also_after_saving(case, tmp_path):
    model, _ = opened(case, live=True)
    data = table(case[1])
    adapted = predicted(model, *data)
    model.module = merged_copy(model.module)
    assert not any("lora_" in name for name in model.module.state_dict())
    (tmp_path / "merged").write_text("an earlier file")
    model.save(tmp_path / "merged")
    again = load_model(CATALOGUE[case[0]], case[1], CPU, tmp_path / "merged")
    np.testing.assert_allclose(predicted(again, *data), adapted, rtol=1e-5, atol=1e-5)


def test_query_rows_do_not_see_each_other(case):
    model, _ = opened(case, live=True)
    x_NF, y_N, classes = table(case[1])
    alone = predicted(model, x_NF[:31], y_N[:31], classes)
    x_NF[31:] += 50.0
    np.testing.assert_allclose(predicted(model, x_NF, y_N, classes)[:1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("views", [1, 2])
def test_rows_are_predicted_alike_at_once_and_in_lots_with_a_cached_context(case, views):
    model, _ = opened(case, live=True)
    data = table(case[1])
    rounding = 3e-6 if data[2] else 1e-5  # on some processors BLAS sums in another order for fewer rows at once
    whole, in_lots = (predicted(model, *data, views=views, rows_at_once=rows) for rows in (10, 4))
    np.testing.assert_allclose(in_lots, whole, rtol=rounding, atol=rounding)
    model.module = merged_copy(model.module)
    whole, in_lots = (predicted(model, *data, views=views, rows_at_once=rows) for rows in (10, 4))
    np.testing.assert_allclose(in_lots, whole, rtol=rounding, atol=rounding)


def test_row_weights_scale_the_loss_and_its_gradient(case):
    name, task, path = case
    model = load_model(CATALOGUE[name], task, CPU, path)
    x_NF, y_N, classes = table(task)
    x_BTF = torch.from_numpy(model.fit_preprocessing(x_NF)(x_NF))[None]
    y_BN, weight_Q = torch.from_numpy(y_N)[None], torch.tensor([1.0, 2.0, 0.0, 1.0, 2.0] * 2)
    if not classes:
        y_BN = ((y_BN - y_BN.mean()) / y_BN.std()).float()
    model.module.train()

    def loss(asked, weight_BQ=None):  # Mitra overwrites the given labels
        return model.loss(
            x_BTF[:, [*range(30), *asked]], y_BN[:, :30].clone(), y_BN[:, asked].clone(), classes, weight_BQ
        )

    each_Q = torch.stack([loss([i]) for i in range(30, 40)])
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    for expected, given in ((each_Q.mean(), None), ((weight_Q * each_Q).mean(), weight_Q[None])):
        found = loss(range(30, 40), given)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        slopes = [torch.autograd.grad(y, parameters, retain_graph=True, allow_unused=True) for y in (found, expected)]
        for slope, wanted in zip(*slopes, strict=True):
            torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-4)


def test_every_declared_target_and_group_exists_in_the_model(case):
    name, task, _ = case
    family = CATALOGUE[name].family
    for target in (*family.targets, *family.groups):
        report = opened(case, lora=LoraSettings(rank=1, targets=(target,)))[1]
        assert {layer.target for layer in report.layers} == {target}


def test_predictions_are_probabilities_or_numbers_in_the_targets_unit(case):
    model, _ = opened(case)
    x_NF, y_N, classes = table(case[1])
    answer = predicted(model, x_NF, y_N, classes, views=2)
    assert np.isfinite(answer).all()
    if classes:
        np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)
    else:
        assert answer.shape == (10,)
        shifted = predicted(model, x_NF, 10 * y_N + 7, classes, views=2)
        np.testing.assert_allclose(shifted, 10 * answer + 7, rtol=1e-3)  # in the target's unit


def test_twenty_rows_with_missing_values_train(case):
    model, _ = opened(case, live=True)
    x_NF, y_N, classes = table(case[1], rows=20)
    x_NF[::3, 1] = np.nan
    x_NF[:, 2] = np.nan
    normalise = model.fit_preprocessing(x_NF)
    size, chance = EpisodeSize.plan(20, batch_size=5, context_rows=100), np.random.default_rng(0)
    episode = next(draw_episodes(normalise(x_NF), y_N, classes, size, chance))
    model.module.train()
    assert torch.isfinite(episode_loss(model, episode, classes, CPU))
