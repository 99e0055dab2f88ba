"""Where a run computes, with a torch that pretends to see cards."""

from types import SimpleNamespace

import pytest
import torch

from tabtune_core import devices
from tabtune_core.devices import resolve_device
from tabtune_core.errors import DeviceError
from tabtune_core.training.session import _salt


@pytest.fixture
def cards(monkeypatch):
    """A torch that sees two cards; ``fail`` is raised when something is computed on one."""
    tried = []

    def put(fail=None, hip=None):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
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


def test_a_card_is_tried_before_it_is_taken(cards):
    tried = cards()
    assert resolve_device("auto") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert tried == [torch.device("cuda:0"), torch.device("cuda:1")]


@pytest.mark.parametrize("name", ["auto", "cuda:1"])
def test_a_card_that_cannot_compute_is_an_error_with_the_cause_and_never_another_device(cards, name):
    cards(fail=RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"))
    with pytest.raises(DeviceError, match=r"The GPU cuda:. cannot be used: CUDA error: no kernel image .*device Choose 'cpu'"):
        resolve_device(name)


def test_auto_is_the_card_with_the_most_free_memory(cards, monkeypatch):
    cards()
    monkeypatch.setattr(devices, "freest_card", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:1")
    monkeypatch.setattr(devices, "freest_card", lambda: 7)  # the driver knows cards that torch does not
    assert resolve_device("auto") == torch.device("cuda:1")


def test_a_card_without_room_is_no_broken_card(cards):
    cards(fail=torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(torch.OutOfMemoryError):
        resolve_device("cuda:0")


def test_a_card_of_amd_is_refused_by_name_and_never_taken_on_its_own(cards):
    tried = cards(hip="6.4")
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="AMD GPUs"):
        resolve_device("cuda:0")
    assert tried == []


def test_equal_cards_share_what_was_computed_and_others_do_not():
    model = SimpleNamespace(
        source=SimpleNamespace(sha256="abc"), task="classification", card=SimpleNamespace(family=SimpleNamespace(distribution="tabicl"))
    )
    first, second, other, cpu = (
        _salt(model, SimpleNamespace(device=name)) for name in ("cuda:0 (NVIDIA H100)", "cuda:1 (NVIDIA H100)", "cuda:1 (Tesla T4)", "cpu")
    )
    assert first == second
    assert len({first, other, cpu}) == 3
