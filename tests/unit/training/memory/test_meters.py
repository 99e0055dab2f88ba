"""The memory meter, with a fake NVML library that answers like the real one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes.fake_nvml import Driver, NVMLError

from tabtune_core.events import MemorySampled, PhaseDone, PhaseStarted
from tabtune_core.training.memory import meters
from tabtune_core.training.memory.meters import DENSE, MemoryMeter, NvmlReader, thinned

CPU = torch.device("cpu")
USED = {"GPU-aaa": 10_000, "GPU-bbb": 20_000, "MIG-ccc": 5_000}


def reader(uuid, **answers):
    driver = Driver("GPU-aaa", "GPU-bbb")
    vars(driver).update({"nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=USED[handle]), **answers})
    return NvmlReader(driver, uuid)


@pytest.mark.parametrize(("uuid", "used"), [("bbb", 20_000), ("GPU-aaa", 10_000), ("ccc", 5_000)])
def test_the_gpu_is_found_by_uuid_and_every_meter_is_read_in_its_unit(uuid, used):
    meters = {"utilisation_percent": 5, "power_watts": 123.4, "temperature_celsius": 40}
    assert reader(uuid, nvmlDeviceGetPowerUsage=lambda _: 123_400).sample() == {"nvml_device_bytes": used, **meters}


def refuse(*given):
    raise NVMLError


@pytest.mark.parametrize("refused", [["HandleByUUID"], ("MemoryInfo", "UtilizationRates", "PowerUsage", "Temperature")])
def test_values_unknown_to_the_driver_are_none_and_not_zero(refused):
    assert set(reader("aaa", **{f"nvmlDeviceGet{name}": refuse for name in refused}).sample().values()) == {None}


def test_memory_freed_after_loading_does_not_hide_training_growth():
    with MemoryMeter(CPU, lambda event: None) as meter:
        with meter.phase("load"):
            blocks = [bytearray(60_000) for _ in range(2_000)]
            keep = blocks[::50]  # holes that malloc would keep for later
            del blocks
        with meter.phase("train"):
            block = np.ones(40_000_000, dtype=np.uint8)
            del block
    assert len(keep) == 40
    assert 35_000_000 < meter.growth_bytes["train"] < 80_000_000


def test_the_meter_samples_continuously_and_reports_phases_and_peaks():
    events = []
    with MemoryMeter(CPU, events.append, nvml=reader("aaa"), hertz=200) as meter:
        with meter.phase("load"):
            pass
        with meter.phase("train"):
            block = np.ones(40_000_000, dtype=np.uint8)
            seen = len(events)
            deadline = 1000
            while len(events) < seen + 3 and deadline:
                deadline -= 1
                meter._stop.wait(0.005)
            del block
    samples = [e for e in events if isinstance(e, MemorySampled)]
    assert len(samples) >= 3
    assert {s.torch_allocated_bytes for s in samples} == {None}, "there is no CUDA allocator to ask"
    assert {s.nvml_device_bytes for s in samples} == {10_000}
    assert all(s.resident_bytes > 10_000_000 for s in samples)
    assert [e.phase for e in events if isinstance(e, PhaseStarted)] == ["load", "train"]
    load, train = (e for e in events if isinstance(e, PhaseDone))
    assert load.growth_bytes is None
    assert train.growth_bytes == meter.growth_bytes["train"]
    assert 35_000_000 < train.growth_bytes < 200_000_000
    assert meter.highest_bytes == max(load.peak_bytes["resident"], train.peak_bytes["resident"])


def test_samples_of_a_long_run_are_thinned_and_each_phase_has_one():
    samples = [MemorySampled("train", number) for number in range(115_200)] + [MemorySampled("save", 7)]
    emitted = list(thinned(samples))
    assert emitted[:DENSE] == samples[:DENSE]
    assert len(emitted) < 4_100
    assert emitted[-1] == samples[-1]


@pytest.mark.parametrize("loaded", [True, False])
def test_the_growth_of_a_phase_without_a_sample_is_unknown_and_not_zero(monkeypatch, loaded):
    monkeypatch.setattr(meters, "_reset_peaks", lambda device: False)  # a device that keeps no peaks
    meter = MemoryMeter(CPU, lambda event: None)  # its thread, which samples, is not started
    if loaded:
        with meter.phase("load"):
            pass
    with meter.phase("train"):
        assert meter.so_far() == (0, None)
    assert meter.growth_bytes["train"] is None


def test_the_growth_of_an_earlier_process_counts_where_this_one_could_read_none(monkeypatch):
    monkeypatch.setattr(meters, "_reset_peaks", lambda device: False)
    meter = MemoryMeter(CPU, lambda event: None)  # its thread, which samples, is not started
    with meter.phase("train"):
        meter.carry_over(9_000, 7_000)
        assert meter.so_far() == (9_000, 7_000)
    assert meter.growth_bytes["train"] == 7_000
