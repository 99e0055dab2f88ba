"""The cards that the pages name are those that a run could take."""

import types

import pynvml
import pytest

from dashboard import devices

NAMES = ("H100", "A100", "T4")
UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")


@pytest.fixture
def cards(monkeypatch):
    """A driver with three cards and a torch with CUDA."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(NAMES))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda place: place)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", NAMES.__getitem__)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda place: UUIDS[place].encode())
    monkeypatch.setattr(devices, "version", lambda package: "2.9.1+cu128")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_card_is_named_where_none_is_hidden(cards):
    assert devices.card_names() == list(NAMES)


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", ["A100"]),
        ("2,0", ["T4", "H100"]),
        (" 0 , 2 ", ["H100", "T4"]),
        ("0,7,1", ["H100"]),
        ("0,-1,1", ["H100"]),
        ("1,1", []),
        ("GPU-bb33", ["T4"]),
        ("GPU-bb,GPU-aa11", ["T4", "H100"]),
        ("GPU-aa", []),
        ("GPU-bb33,0", ["T4"]),
        ("MIG-aa11", []),
    ],
)
def test_hidden_cards_are_not_named_and_the_order_is_the_one_asked_for(cards, monkeypatch, visible, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.card_names() == named


def test_a_torch_without_cuda_has_no_card(cards, monkeypatch):
    monkeypatch.setattr(devices, "version", lambda package: "2.9.1+cpu")
    assert devices.card_names() == []


def test_no_driver_is_no_card(cards, monkeypatch):
    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert devices.card_names() == []


def test_free_memory_is_in_the_order_of_the_names_and_unknown_where_the_driver_does_not_tell(cards, monkeypatch):
    def memory(place):
        if NAMES[place] == "A100":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return types.SimpleNamespace(free=place, total=10 + place)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1,0")
    assert devices.card_memory() == [(2, 12), None, (0, 10)]


def test_free_memory_of_the_machine_is_a_part_of_all_of_it():
    free, total = devices.machine_memory()
    assert 0 < free < total


def test_devices_are_named_by_their_cards():
    assert devices.device_names(["H100", "T4"]) == {
        "auto": "auto: cuda:0 (H100)", "cpu": "cpu", "cuda:0": "cuda:0 (H100)", "cuda:1": "cuda:1 (T4)",
    }  # fmt: skip
    assert devices.device_names([])["auto"] == "auto: cpu; no NVIDIA card found"
