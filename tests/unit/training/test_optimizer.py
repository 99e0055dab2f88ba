"""Torch's optimizers, LoRA+, learning rates over the steps, and 16 bits only on a GPU."""

import pytest
import torch
from tiny import tiny_module

from tabtune_core.errors import DeviceError
from tabtune_core.lora.inject import inject
from tabtune_core.settings import LoraSettings
from tabtune_core.training.step import Precision, make_optimizer, rate_factor, set_rate

ADAM = {"betas": (0.8, 0.9), "eps": 1e-7}


@pytest.mark.parametrize(
    ("name", "torchs_own"),
    [
        ("adamw", lambda w: torch.optim.AdamW([w], lr=0.1, weight_decay=0.5, fused=True, **ADAM)),
        ("adam", lambda w: torch.optim.Adam([w], lr=0.1, weight_decay=0.5, fused=True, **ADAM)),
        ("sgd", lambda w: torch.optim.SGD([w], lr=0.1, weight_decay=0.5, momentum=0.9, fused=True)),
    ],
)
def test_an_optimizer_equals_torchs_own_under_every_setting(name, torchs_own):
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    own = make_optimizer([("w", ours)], optimizer=name, learning_rate=0.1, weight_decay=0.5, **ADAM)
    optimizers = own, torchs_own(theirs)
    for _ in range(3):
        for optimizer, weight in zip(optimizers, (ours, theirs), strict=True):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_lora_plus_keeps_the_ratio_of_b_factors_under_the_schedule():
    module = tiny_module()
    report = inject(module, LoraSettings(rank=2, dropout=0, targets=("row_interactor", "icl_predictor.decoder")))
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = make_optimizer(
        trainable.items(), optimizer="adamw", learning_rate=1e-3, weight_decay=0, lr_ratio=16, **ADAM
    )
    assert set_rate(optimizer, 0.25) == 2.5e-4, "the reported rate is that of the A factors"
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    by_factor = {of: {rates[id(p)] for name, p in trainable.items() if of in name} for of in ("lora_A", "lora_B")}
    assert by_factor == {"lora_A": {2.5e-4}, "lora_B": {4e-3}}
    assert len(rates) == 2 * len(report.layers)


@pytest.mark.parametrize(("schedule", "half_way", "end"), [("cosine", 0.5, 0), ("linear", 0.5, 0), ("constant", 1, 1)])
def test_a_schedule_starts_after_the_warm_up_and_ends_as_specified(schedule, half_way, end):
    factors = [rate_factor(step, schedule=schedule, steps=10, warmup_steps=2) for step in range(11)]
    assert factors[:3] == [0.5, 1, 1]
    assert (factors[6], factors[10]) == pytest.approx((half_way, end))


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_16_bits_on_the_cpu_are_refused(amp):
    with pytest.raises(
        DeviceError, match=f"train.amp is '{amp}', which needs an NVIDIA GPU, but the device is cpu. Set it to 'off'"
    ):
        Precision.of(amp, torch.device("cpu"))


def test_off_means_fp32_and_bf16_needs_no_scale():
    off, bf16 = Precision.of("off", torch.device("cpu")), Precision.of("bf16", torch.device("cuda"))
    assert (off.dtype, off.scaler.is_enabled()) == (None, False)
    assert (bf16.dtype, bf16.scaler.is_enabled()) == (torch.bfloat16, False)
