"""The two layers: formula, identity, gradients, merging."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tabtune_core.lora.layers import LoRALinear, LowRankUpdate


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def trained(layer: LoRALinear, generator: torch.Generator) -> LoRALinear:
    nn.init.normal_(layer.lora_B.weight, generator=generator)  # zero B would make the tests below pass trivially
    return layer


def test_a_fresh_adapter_changes_nothing(generator):
    base = nn.Linear(5, 3)
    x = torch.randn(7, 5, generator=generator)
    assert torch.equal(LoRALinear(base, r=2, alpha=4, dropout=0.5)(x), base(x))


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (2, 16), (3, 0.5)])
def test_a_linear_adds_alpha_over_rank_times_b_a(generator, rank, alpha):
    base = nn.Linear(5, 3)
    layer = trained(LoRALinear(base, r=rank, alpha=alpha, dropout=0.0), generator)
    x = torch.randn(4, 6, 5, generator=generator)
    expected = base(x) + alpha / rank * x @ layer.lora_A.weight.T @ layer.lora_B.weight.T
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_merging_keeps_the_function(generator, dtype, atol):
    layer = trained(LoRALinear(nn.Linear(5, 3, dtype=dtype), r=2, alpha=3), generator).eval()
    x = torch.randn(7, 5, dtype=dtype, generator=generator)
    assert not torch.allclose(layer(x), layer.base(x), atol=1e-3)
    torch.testing.assert_close(layer.merged()(x), layer(x), atol=atol, rtol=0)


def test_dropout_hides_parts_of_the_input_of_a_only_while_training(generator):
    base = nn.Linear(400, 1)
    layer = trained(LoRALinear(base, r=1, alpha=1, dropout=0.9), generator)
    nn.init.ones_(layer.lora_A.weight)
    nn.init.ones_(layer.lora_B.weight)
    x = torch.ones(1, 400)
    update = (layer.train()(x) - base(x)).item()
    assert update / 10 == pytest.approx(round(update / 10), abs=1e-3), "a kept feature counts ten times"
    assert 5 <= round(update / 10) <= 100
    assert (layer.eval()(x) - base(x)).item() == pytest.approx(400, rel=1e-3)


def test_a_weight_that_is_read_becomes_w_plus_scaled_b_a(generator):
    owner = nn.Linear(5, 3)
    original = owner.weight.detach().clone()
    update = LowRankUpdate(owner.weight, r=2, alpha=8, dropout=0.0)
    nn.init.normal_(update.lora_B, generator=generator)
    parametrize.register_parametrization(owner, "weight", update)
    torch.testing.assert_close(owner.weight, original + 4 * update.lora_B @ update.lora_A)


def test_a_read_weight_hides_whole_input_features_while_training(generator):
    weight = torch.zeros(3, 50)
    update = LowRankUpdate(weight, r=2, alpha=2, dropout=0.5).train()
    nn.init.normal_(update.lora_B, generator=generator)
    hidden = (update(weight) == 0).all(dim=0)
    assert 5 < hidden.sum() < 45
    assert not (update.eval()(weight) == 0).all(dim=0).any()
