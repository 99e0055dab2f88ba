"""The low-rank operation: formula, gradients against autograd's, dropout, kept tensors; and its 16-bit copies."""

import pytest
import torch
from dispatched import Dispatched, as_on_a_gpu
from tiny import tiny_module
from torch import nn
from torch.nn import functional as F

from tabtune_core.lora import fused_linear as module
from tabtune_core.lora.fused_linear import keep_mask, low_rank_linear
from tabtune_core.lora.half_copies import half_copies
from tabtune_core.lora.inject import adapter_factors, inject
from tabtune_core.lora.lazy_weight import LowRankWeight
from tabtune_core.settings import LoraSettings

SCALING = 0.7


def operands(rows: int, inputs: int = 6, outputs: int = 5, rank: int = 2, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    x, w, c, a, b = (
        torch.randn(*shape, generator=draw, dtype=dtype)
        for shape in ((2, rows, inputs), (outputs, inputs), (outputs,), (rank, inputs), (outputs, rank))
    )
    return x.requires_grad_(), w, c.requires_grad_(), a.requires_grad_(), b.requires_grad_()


def plainly(x, w, c, a, b, seen):
    return F.linear(x, w, c) + SCALING * seen @ a.T @ b.T


def gradients(output, tensors):
    return torch.autograd.grad(output.square().sum(), tensors)


def same(ours, expected, tensors):
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)
    for found, wanted in zip(gradients(ours, tensors), gradients(expected, tensors), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("rows", "inputs", "dropout", "cached"),
    [  # an output smaller and larger than the weight, which is small and large beside the rank
        *((1, 6, 0.0, 0), (1, 40, 0.5, module.CACHED), (2, 6, 0.5, 0), (2, 40, 0.0, module.CACHED)),
        *((30, 6, 0.0, module.CACHED), (30, 40, 0.5, 0), (30, 6, 0.5, module.CACHED), (30, 40, 0.0, 0)),
    ],
)
def test_output_and_gradients_equal_the_formulas(rows, inputs, dropout, cached, monkeypatch):
    monkeypatch.setattr(module, "CACHED", cached)
    x, w, c, a, b = operands(rows, inputs, outputs=inputs - 1)
    kept = keep_mask(x, 0.5)
    monkeypatch.setattr(module, "keep_mask", lambda x, dropout: kept)
    seen = x * kept.view(x.shape) / (1 - dropout) if dropout else x
    ours, expected = low_rank_linear(x, w, c, a, b, SCALING, dropout), plainly(x, w, c, a, b, seen)
    same(ours, expected, (x, c, a, b))


def test_its_output_can_be_changed_in_place_and_neither_a_bias_nor_a_gradient_of_the_input_is_needed():
    x, w, c, a, b = operands(4)
    ours, expected = low_rank_linear(x, w, c, a, b, SCALING, 0.0), plainly(x, w, c, a, b, x)
    ours[:, 1], expected[:, 1] = 0.5, 0.5
    same(ours, expected, (x, a, b))
    x = x.detach()
    same(low_rank_linear(x, w, None, a, b, SCALING, 0.0), plainly(x, w, None, a, b, x), (a, b))


@pytest.mark.parametrize("dropout", [0.001, 0.05, 0.3, 0.9, 0.999])
def test_dropout_zeroes_the_expected_share_of_numbers(dropout):
    torch.manual_seed(0)
    masks = torch.stack([keep_mask(torch.empty(50, 21), dropout) for _ in range(2000)]).double()
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    chance = 4 * (dropout * (1 - dropout) / masks.numel()) ** 0.5 + 1.5e-4  # of the numbers, plus that of the levels
    assert masks.mean().item() == pytest.approx(1 - dropout, abs=chance)


def test_dropout_zeroes_each_number_independently():
    torch.manual_seed(0)
    kept = keep_mask(torch.empty(1000, 101), 0.3).double()
    for axis in (0, 1):  # no row and no column is dropped as a whole
        assert kept.mean(dim=axis).std().item() == pytest.approx((0.3 * 0.7 / kept.shape[axis]) ** 0.5, rel=0.25)


@pytest.mark.parametrize(
    ("dropout", "forward", "backward"),
    [
        (0.0, ["addmm", "addmm", "addmm_"], ["addmm", "mm", "mm", "mm", "addmm_"]),
        (
            0.3,
            ["native_dropout", "addmm", "addmm", "addmm_"],
            ["native_dropout_backward", "addmm", "mm", "mm", "mm", "native_dropout_backward", "addmm_"],
        ),
    ],
)
def test_on_a_gpu_it_uses_few_kernels_and_never_waits_for_the_host(dropout, forward, backward):
    x, w, c, a, b = operands(1, 40, 39)
    with as_on_a_gpu(), Dispatched() as seen:
        output = low_rank_linear(x, w, c.detach(), a, b, SCALING, dropout)
        assert seen.kernels == forward
        torch.autograd.grad(output, (x, a, b), torch.empty_like(output))
    assert seen.kernels[len(forward) :] == backward
    assert not seen.waits


def test_the_gpu_path_gives_the_formulas_output_and_gradients_for_its_mask(monkeypatch):
    monkeypatch.setattr(module, "on_gpu", lambda x: True)
    kept, draw = [], torch.native_dropout
    monkeypatch.setattr(
        torch, "native_dropout", lambda *given: kept.extend([draw(*given)[1]]) or (given[0] * kept[0] / 0.5, kept[0])
    )
    x, w, c, a, b = operands(30, 40, 39)
    ours = low_rank_linear(x, w, c, a, b, SCALING, 0.5)
    assert 0.4 < kept[0].double().mean() < 0.6
    expected = plainly(x, w, c, a, b, x * kept[0].view(x.shape) / 0.5)
    same(ours, expected, (x, c, a, b))


@pytest.mark.parametrize("inputs", [6, 40])  # the weight is small beside the rank, and large
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_backward_pass_keeps_the_input_plus_mask_bytes_and_rank_values_with_dropout(dropout, inputs):
    x, w, c, a, b = operands(40, inputs, outputs=inputs - 1, dtype=torch.float32)
    own, kept = {t.untyped_storage().data_ptr() for t in (w, c, a, b)}, {}

    def look(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        low_rank_linear(x, w, c, a, b, SCALING, dropout)
    assert x.untyped_storage().data_ptr() in kept
    assert sum(size for place, size in kept.items() if place not in own) == x.nbytes + (
        x.numel() + (2 * 40 * 2 * 4 if inputs == 40 else 0) if dropout else 0
    )


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_under_autocast_it_computes_in_16_bits_and_gives_gradients_in_32(dropout):
    x, w, c, a, b = operands(30, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = low_rank_linear(x, w, c, a, b, SCALING, dropout)
    assert output.dtype == torch.bfloat16
    found = gradients(output.float(), (x, c, a, b))
    assert {gradient.dtype for gradient in found} == {torch.float32}
    if not dropout:
        expected = plainly(x, w, c, a, b, x)
        torch.testing.assert_close(output.float(), expected, atol=0.1, rtol=0.05)


def weight(rows: int = 9, inputs: int = 6):
    _, w, _, a, b = operands(1, inputs=inputs, outputs=rows)
    return LowRankWeight.of(w, a, b, SCALING, 0.0), w + SCALING * b @ a, (a, b)


READINGS = {
    "all of it": lambda w, x: F.linear(x, w),
    "with a bias": lambda w, x: F.linear(x, w, torch.ones(9, dtype=x.dtype)),
    "split": lambda w, x: torch.cat([F.linear(x, part) for part in w.split([3, 6])], dim=-1),
    "chunks": lambda w, x: torch.cat([F.linear(x, part) for part in w.chunk(3)], dim=-1),
    "first rows": lambda w, x: F.linear(x, w[:4]),
    "split by columns": lambda w, x: F.linear(x[..., :2], w.split([2, 4], dim=1)[0]),
    "one row": lambda w, x: x @ w[2],
    "as a number": lambda w, x: (w * 2 + 1).norm(),
    "in a list": lambda w, x: torch.cat([w, w]),
    "by a keyword": lambda w, x: torch.nn.functional.linear(x, weight=w),
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_weight_that_is_read_equals_the_sum_for_every_reader(reading):
    read, expected, factors = weight()
    x = operands(4)[0]
    ours = READINGS[reading](read, x)
    assert type(ours) is torch.Tensor
    same(ours, READINGS[reading](expected, x), factors)
    assert (read.shape, read.dtype, read.dim(), read.numel()) == (expected.shape, expected.dtype, 2, 54)


@pytest.mark.parametrize("reading", ["all of it", "with a bias", "split", "chunks", "first rows"])
def test_attention_reads_the_weight_without_forming_the_sum(reading, monkeypatch):
    read, _, _ = weight()
    monkeypatch.setattr(
        "tabtune_core.lora.lazy_weight._summed",
        lambda values: (
            pytest.fail("the sum was formed") if any(isinstance(v, LowRankWeight) for v in values) else tuple(values)
        ),
    )
    READINGS[reading](read, operands(4)[0])


TARGETS = ("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder")
INPUTS = (torch.randn(1, 60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40)[None].float() % 3)


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    module = tiny_module().train()
    report = inject(module, LoraSettings(rank=2, dropout=0, targets=TARGETS, bias="lora_only"))
    factors = [factor for pair in adapter_factors(module, report).values() for factor in pair]
    for factor in factors:
        nn.init.normal_(factor, std=0.3)
    return module, factors


def outputs(module):
    with torch.autocast("cpu", torch.bfloat16):
        return module(*INPUTS).float()


def half_gradients(module):
    module.zero_grad()
    outputs(module).square().mean().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_outputs_equal_autocasts_and_gradients_agree_within_rounding(adapted):
    module, factors = adapted
    expected, wanted = outputs(module), half_gradients(module)
    with half_copies(module, factors, torch.bfloat16):
        assert torch.equal(outputs(module), expected)
        found = half_gradients(module)
    assert found.keys() == wanted.keys()
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    for name, gradient in wanted.items():  # per tensor: the rounding of single numbers differs between processors
        assert (found[name] - gradient).norm() <= 0.02 * gradient.norm() + 1e-3, name


def test_each_step_copies_the_current_factors_all_at_once(adapted):
    module, factors = adapted
    with half_copies(module, factors, torch.bfloat16):
        before = outputs(module)
        with torch.no_grad():
            factors[0].mul_(3)
        after = outputs(module)
        with Dispatched() as seen:
            half_gradients(module)
    assert not torch.equal(before, after)
    assert torch.equal(after, outputs(module))
    with Dispatched() as without:
        half_gradients(module)
    assert seen.kernels.count("_foreach_copy_") == 2
    assert without.kernels.count("_to_copy") - seen.kernels.count("_to_copy") >= 3 * len(factors) / 2


def test_16_bit_copies_exist_only_under_autocast_and_are_removed_afterwards(adapted):
    module, factors = adapted
    expected = module(*INPUTS)
    with half_copies(module, factors, torch.bfloat16):
        outputs(module)
        assert torch.equal(module(*INPUTS), expected)
        hooks = dict(module._forward_pre_hooks)
    assert (len(hooks), len(module._forward_pre_hooks)) == (1, 0)
    with Dispatched() as seen, half_copies(module, factors, None):
        outputs(module)
    assert "_foreach_copy_" not in seen.kernels
