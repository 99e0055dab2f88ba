"""Pre-training: one seed gives one run, and it goes on from where it was stopped. The prior's tables are stand-ins here."""

import numpy as np
import pytest
import torch

from tabtune_core.models import pretrain as script


def stand_in(seed, number):
    rng = np.random.default_rng([seed, number])
    x = torch.from_numpy(rng.normal(size=(8, 24, 3)).astype(np.float32))
    return script.Group(x, (x[:, :, 0] > 0).long() + (x[:, :, 1] > 1).long())


@pytest.fixture(autouse=True)
def no_prior(monkeypatch):
    def stream(seed, start, processes):
        while True:
            yield stand_in(seed, start)
            start += 1

    monkeypatch.setattr(script, "group_stream", stream)


def losses(folder, steps, *, seed=0, resume=False):
    return list(script.pretrain(folder, steps, 2e-3, seed, resume, save_every=2))


def test_one_seed_gives_the_same_losses_and_another_gives_others(tmp_path):
    first, again, other = (losses(tmp_path, 3, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first[0][1] != other[0][1]


def test_it_goes_on_from_where_it_was_stopped(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = dict(losses(tmp_path / "whole", 4))
    stream = script.pretrain(tmp_path, 4, 2e-3, 0, False, save_every=2)
    next(stream), next(stream), next(stream)  # stopped in the middle; the last save is after step 2
    stream.close()
    rest = dict(losses(tmp_path, 4, resume=True))
    assert rest == pytest.approx({step: whole[step] for step in (3, 4)}, abs=1e-6)


def test_the_loss_falls_and_the_file_opens_as_a_model(tmp_path):
    from tabtune_core.models.adapter import load_model
    from tabtune_core.models.catalogue import CATALOGUE

    values = [loss for _, loss in losses(tmp_path, 12)]
    assert np.mean(values[-3:]) < np.mean(values[:3])
    assert load_model(CATALOGUE["tabicl-mini"], "classification", torch.device("cpu"), tmp_path / "mini.ckpt").card.name == "tabicl-mini"


def test_query_rows_of_a_class_that_the_context_lacks_are_not_scored():
    model = torch.nn.Module()
    model.forward = lambda x, y: torch.zeros(x.shape[0], x.shape[1] - y.shape[1], 10)
    alone = script.Group(torch.zeros(1, 10, 1), torch.arange(10)[None])
    assert torch.isnan(script.group_loss(model, alone, np.random.default_rng(0)))
    shared = script.Group(torch.zeros(1, 10, 1), torch.tensor([[0, 1] * 5]))
    assert script.group_loss(model, shared, np.random.default_rng(0)).item() == pytest.approx(np.log(2))
