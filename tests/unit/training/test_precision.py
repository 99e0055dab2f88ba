"""16-bit training only on a GPU that supports it."""

import pytest
import torch

from tabtune_core.errors import DeviceError
from tabtune_core.training.step import Precision, emulation


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


@pytest.mark.parametrize(("amp", "capability", "told"), [("bf16", (7, 5), 1), ("bf16", (8, 0), 0), ("fp16", (7, 0), 0)])
def test_bf16_on_a_gpu_that_emulates_it_gives_a_notice_with_the_alternative(monkeypatch, amp, capability, told):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    notes = [*emulation(amp, torch.device("cuda"))]
    assert len(notes) == told
    assert all(
        "Tesla T4 (compute capability 7.5) emulates bf16" in note.text and "'fp16'" in note.text for note in notes
    )
