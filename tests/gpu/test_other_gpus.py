"""A GPU of another maker than NVIDIA (here the pretend one) is probed first, and has only proven features."""

import numpy as np
import pytest
import torch
from fits import fitted, losses, scores

from tabtune_core import devices
from tabtune_core.devices import name_of, random_states, resolve_device
from tabtune_core.errors import DeviceError
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.step import Precision

pytestmark = pytest.mark.gpu


@pytest.fixture
def other(counting_gpu, monkeypatch):
    """A GPU as torch sees Apple's: not proven, without 64-bit floats and without memory peaks."""
    monkeypatch.setattr(devices, "TYPES", {"cuda"})
    monkeypatch.setattr(devices, "NARROW", {counting_gpu.type})
    monkeypatch.delattr(torch.get_device_module(counting_gpu), "max_memory_allocated")
    torch.ops.pretend_card.be_narrow(True)
    yield counting_gpu
    torch.ops.pretend_card.be_narrow(False)


@pytest.fixture
def spoil(other):
    """Changes the result of a kernel."""
    library = torch.library.Library("aten", "IMPL")

    def put(name, change):
        kernel = getattr(torch.ops.aten, name.partition(".")[0])

        def wrong(*arguments, **named):
            values = kernel(*(one.cpu() if isinstance(one, torch.Tensor) else one for one in arguments), **named)
            return change(values).to(other)

        library.impl(name, wrong, "PrivateUse1")

    yield put
    library._destroy()


def test_a_gpu_that_agrees_with_the_cpu_is_used_when_named(other):
    before = random_states(other)
    assert resolve_device(name_of(other)) == other
    assert (name_of(other), resolve_device("auto")) == (f"card:{other.index}", torch.device("cpu"))
    assert all(torch.equal(states, before[name]) for name, states in random_states(other).items())


@pytest.mark.parametrize(
    ("kernel", "change", "what"),
    [
        ("mm", lambda values: 1.01 * values, "scores"),
        ("gelu", lambda values: values.flip(0), "scores"),
        ("gelu_backward", lambda values: 1.01 * values, "gradients of attention"),
        ("_log_softmax", torch.zeros_like, "gradients of attention"),
    ],
)
def test_a_gpu_that_disagrees_with_the_cpu_is_refused_in_one_sentence(other, spoil, kernel, change, what):
    spoil(kernel, change)
    with pytest.raises(DeviceError) as refused:
        resolve_device(name_of(other))
    assert str(refused.value).startswith(
        f"The GPU {name_of(other)} is not used, because it computes {what} that differ from the CPU's by "
    )


def test_a_gpu_without_16_bit_numbers(other):
    with pytest.raises(DeviceError, match=f"needs an NVIDIA GPU, but the device is {name_of(other)}. Set it to 'off'"):
        Precision.of("bf16", other)


@pytest.mark.parametrize(
    ("model", "task"),
    [("tabicl-mini", "classification"), *((f"{name}-mini", "regression") for name in ("tabicl", "tabdpt", "mitra"))],
)
def test_a_fit_equals_the_cpus_and_needs_no_64_bit_floats(other, tmp_path, model, task):
    train = TrainSettings(steps=3, eval_every=2, learning_rate=3e-3, context_rows=24, batch_size=16)
    what = {"dataset": "-", "target": "y", "model": model, "task": task, "device": "cpu"}
    case = RunSettings(**what, train=train, lora=LoraSettings(rank=3, dropout=0.0))
    events, result = fitted(case, tmp_path / "gpu", device=other)
    expected, cpu = fitted(case, tmp_path / "cpu")
    tests = list(result.test.values()), list(cpu.test.values())
    for own, wanted in ((losses(events), losses(expected)), (scores(events), scores(expected)), tests):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-4)
    assert result.memory_meter == "torch_allocated"
