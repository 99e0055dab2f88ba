"""16-bit training only on a GPU that supports it."""

import pytest
import torch

from tabtune_core.errors import DeviceError
from tabtune_core.training.step import Precision


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
