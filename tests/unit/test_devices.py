"""On which device a run computes, with a torch that pretends to see GPUs."""

from types import SimpleNamespace

import pytest
import torch

from tabtune_core import devices
from tabtune_core.devices import resolve_device
from tabtune_core.errors import DeviceError
from tabtune_core.gpus import check_device
from tabtune_core.training.session import _salt


@pytest.fixture
def gpus(monkeypatch):
    """A torch that sees two GPUs; ``fail`` is raised when something is computed on one."""
    tried = []

    def put(fail=None, hip=None):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.version, "hip", hip)
        ones = torch.ones

        def compute(size, device):
            tried.append(device)
            if fail is not None:
                raise fail
            return ones(size)

        monkeypatch.setattr(torch, "ones", compute)
        return tried

    return put


def test_a_gpu_is_tried_before_it_is_chosen(gpus):
    tried = gpus()
    assert resolve_device("auto") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert tried == [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize("name", ["auto", "cuda:1"])
def test_a_gpu_that_cannot_compute_is_an_error_and_never_replaced_by_another_device(gpus, name):
    gpus(fail=RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"))
    with pytest.raises(DeviceError, match="GPU cuda:. cannot be used: CUDA error: no kernel .*device Choose 'cpu'"):
        resolve_device(name)


def test_auto_means_the_gpu_with_the_most_free_memory(gpus, monkeypatch):
    gpus()
    monkeypatch.setattr(devices, "freest_card", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:1")
    monkeypatch.setattr(devices, "freest_card", lambda: 7)  # the driver lists GPUs that torch does not see
    assert resolve_device("auto") == torch.device("cuda:1")


def test_a_gpu_that_is_gone_is_named_as_the_one_that_auto_was_given(gpus):
    gpus()
    with pytest.raises(DeviceError, match="'auto' was given 'cuda:2', but torch sees 2 CUDA GPUs.*Choose 'cpu', or"):
        resolve_device("cuda:2", asked="auto")


def test_a_full_gpu_is_not_a_broken_gpu(gpus):
    gpus(fail=torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        resolve_device("cuda:0")


def test_an_amd_gpu_is_not_taken(gpus):
    tried = gpus(hip="6.4")
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="'cuda:0' was requested, but torch sees 0 CUDA GPUs"):
        resolve_device("cuda:0")
    assert tried == []


@pytest.mark.parametrize("name", ["mps", "xpu:1", "meta", "cuda:-1"])
@pytest.mark.parametrize("ask", [resolve_device, check_device])
def test_a_device_of_another_kind_is_refused_with_the_way_out(gpus, ask, name):
    tried = gpus()
    with pytest.raises(DeviceError, match=f"There is no device '{name}': runs use NVIDIA GPUs or the CPU. Use 'auto'"):
        ask(name)
    assert tried == []


def test_only_equal_gpus_share_computed_results():
    card = SimpleNamespace(family=SimpleNamespace(distribution="tabicl"))
    model = SimpleNamespace(source=SimpleNamespace(sha256="abc"), task="classification", card=card)
    names = ("cuda:0 (NVIDIA H100)", "cuda:1 (NVIDIA H100)", "cuda:1 (Tesla T4)", "cpu")
    first, second, other, cpu = (_salt(model, SimpleNamespace(device=name)) for name in names)
    assert first == second
    assert len({first, other, cpu}) == 3
