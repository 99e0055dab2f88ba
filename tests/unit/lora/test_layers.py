"""The three layers and their variants: formula, identity, dropout, merging, and cutting to a lower rank."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from tabtune_core.execution.jobs.truncate_rank import directions
from tabtune_core.lora.layers import LoRAEmbedding, LoRALinear, LowRankUpdate


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def trained(layer: LoRALinear, generator: torch.Generator) -> LoRALinear:
    nn.init.normal_(layer.lora_B.weight, generator=generator)  # zero B would make the tests below pass trivially
    return layer


@pytest.mark.parametrize(
    ("made", "bound"),
    [
        (lambda: LoRALinear(nn.Linear(400, 4)), 400**-0.5),
        (lambda: LowRankUpdate(torch.ones(4, 400), 8, 16.0, 0.05), 400**-0.5),
        (lambda: LoRAEmbedding(nn.Embedding(400, 4)), 1),
    ],
    ids=["called", "read", "looked up"],
)
def test_factor_a_starts_uniform_and_the_defaults_are_pefts(made, bound):
    """A layer that is called or read starts as in PEFT; of a table one column is read, so the fan-in is 1."""
    layer = made()
    first, zero = (factor.detach() for factor in layer.factors)
    assert not zero.any()
    assert 0.99 < first.abs().max() / bound <= 1
    assert first.min() < 0 < first.max()
    assert first.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert (*first.shape, layer.scaling) == (8, 400, 2)
    assert layer.dropout.p == (0 if bound == 1 else 0.05)


def test_dropout_zeroes_inputs_of_factor_a_only_during_training(generator):
    base = nn.Linear(400, 1)
    layer = trained(LoRALinear(base, r=1, alpha=1, dropout=0.9), generator)
    nn.init.ones_(layer.lora_A.weight)
    nn.init.ones_(layer.lora_B.weight)
    x = torch.ones(1, 400)
    kept = (layer.train()(x) - base(x)).item() * (1 - 0.9)
    assert kept == pytest.approx(round(kept), abs=1e-3), "a kept feature counts ten times"
    assert 5 <= round(kept) <= 100
    assert (layer.eval()(x) - base(x)).item() == pytest.approx(400, rel=1e-3)


def test_a_weight_that_is_read_becomes_w_plus_scaled_b_a(generator):
    owner = nn.Linear(5, 3)
    original = owner.weight.detach().clone()
    update = LowRankUpdate(owner.weight, r=2, alpha=8, dropout=0.0)
    nn.init.normal_(update.lora_B, generator=generator)
    parametrize.register_parametrization(owner, "weight", update)
    expected = original + 4 * update.lora_B @ update.lora_A
    torch.testing.assert_close(owner.weight, expected)
    with torch.no_grad():
        torch.testing.assert_close(owner.weight, expected)
        assert type(owner.weight) is torch.Tensor


@pytest.mark.parametrize("use_rslora", [False, True])
def test_dora_gives_every_row_its_own_length_and_the_updated_direction(generator, use_rslora):
    """Liu et al. 2024, equation 5; rsLoRA changes only the factor of B A."""
    owner, scaling = nn.Linear(5, 3), 8 / (2 if use_rslora else 4)
    update = LowRankUpdate(owner.weight, r=4, alpha=8, dropout=0.0, use_rslora=use_rslora, variant="dora")
    for parameter in update.parameters():
        nn.init.normal_(parameter, generator=generator)
    direction = owner.weight + scaling * update.lora_B @ update.lora_A
    expected = update.lora_magnitude_vector[:, None] * direction / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(update(owner.weight), expected)
    torch.testing.assert_close(update(owner.weight).norm(dim=1), update.lora_magnitude_vector.abs())


@pytest.mark.parametrize("called", [True, False])
def test_with_dora_a_dropped_feature_is_the_bases_and_the_others_move_further(generator, called):
    """With dropout 0.5 a feature's change by the adapter is 0 or twice that without dropout."""
    base = nn.Linear(50, 3)
    weight, how = base.weight.detach(), {"r": 2, "alpha": 2, "dropout": 0.5, "variant": "dora"}
    layer = LoRALinear(base, **how) if called else LowRankUpdate(weight, **how)
    for parameter in (p for p in layer.parameters() if p.requires_grad):
        nn.init.normal_(parameter, generator=generator)
    change = (lambda: (layer(torch.eye(50)) - base.bias).T - weight) if called else (lambda: layer(weight) - weight)
    dropped, whole = change(), layer.eval() and change()
    kept = (dropped.abs() > 1e-5).any(dim=0)
    assert 5 < kept.sum() < 45
    assert (whole.abs() > 1e-5).any(dim=0).all()
    torch.testing.assert_close(dropped, 2 * whole * kept, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("made", "base"),
    [
        (lambda base: LoRALinear(base, r=2, from_file=True), nn.Linear(5, 4)),
        (lambda base: LowRankUpdate(base, 2, 4.0, 0.0, from_file=True), torch.ones(4, 5)),
        (lambda base: LoRAEmbedding(base, r=2, from_file=True), nn.Embedding(5, 4)),
    ],
    ids=["called", "read", "looked up"],
)
def test_an_adapter_that_awaits_its_file_is_zero_and_draws_no_random_number(made, base):
    before = torch.get_rng_state()
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    try:
        assert not any(factor.any() for factor in made(base).factors)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_factors_are_on_the_device_of_their_weight():
    for layer in (
        LoRALinear(nn.Linear(5, 4, device="meta")),
        LowRankUpdate(torch.ones(4, 5, device="meta"), 2, 4.0, 0.0),
        LoRAEmbedding(nn.Embedding(5, 4, device="meta")),
    ):
        assert {factor.device.type for factor in layer.factors} == {"meta"}


@pytest.fixture
def update():
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(4, 9, generator=generator), torch.randn(6, 4, generator=generator)
    return a, b, (2.5 * b.double() @ a.double())


def test_singular_values_are_those_of_the_dense_update(update):
    a, b, dense = update
    found = directions(a, b, 2.5)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(dense)[:4], atol=1e-9, rtol=0)
    energy = found.values.square()
    share = float(energy[:2].sum() / energy.sum())
    assert [found.needed(part) for part in (share, share + 1e-6, 1e-6, 1.0)] == [2, 3, 1, 4]


@pytest.mark.parametrize("rank", [0, 1, 3, 4])
def test_the_cut_is_the_best_approximation_of_its_rank(update, rank):
    a, b, dense = update
    cut_a, cut_b = directions(a, b, 2.5).factors(rank)
    assert (cut_a.shape, cut_b.shape) == (a.shape, b.shape)
    u, s, vt = torch.linalg.svd(dense)
    expected = u[:, :rank] @ torch.diag(s[:rank]) @ vt[:rank]
    torch.testing.assert_close(2.5 * cut_b @ cut_a, expected, atol=1e-9, rtol=0)


def test_an_untrained_adapter_has_no_direction():
    found = directions(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(8, 3), 2.0)
    cut_a, cut_b = found.factors(3)
    assert not found.values.any()
    assert not (cut_b @ cut_a).any()
