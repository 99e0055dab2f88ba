"""The memory meter, with a fake NVML library that answers like the real one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tabtune_core.events import MemorySampled, PhaseDone, PhaseStarted
from tabtune_core.training.memory import meters
from tabtune_core.training.memory.meters import DENSE, MemoryMeter, NvmlReader, thinned

CPU = torch.device("cpu")


class FakeNvmlError(Exception):
    pass


class FakeNvml:
    """Two GPUs and a MIG slice; ``broken`` names queries that the driver does not answer."""

    NVMLError = FakeNvmlError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, broken=()):
        self.broken, self.used = set(broken), {"GPU-aaa": 10_000, "GPU-bbb": 20_000, "MIG-ccc": 5_000}

    def nvmlInit(self):
        pass

    def answer(self, question, value):
        if question in self.broken:
            raise FakeNvmlError(question)
        return value

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.used:
            raise FakeNvmlError(uuid)
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle):
        return self.answer("memory", SimpleNamespace(used=self.used[handle]))

    def nvmlDeviceGetUtilizationRates(self, handle):
        return self.answer("utilisation", SimpleNamespace(gpu=87))

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.answer("power", 123_400)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.answer("temperature", 61)


@pytest.mark.parametrize(("uuid", "used"), [("bbb", 20_000), ("GPU-aaa", 10_000), ("ccc", 5_000)])
def test_the_gpu_is_found_by_uuid_and_not_by_index(uuid, used):
    assert NvmlReader(FakeNvml(), uuid).sample()["nvml_device_bytes"] == used


def test_every_meter_is_read_in_its_unit():
    assert NvmlReader(FakeNvml(), "aaa").sample() == {
        "nvml_device_bytes": 10_000,
        "utilisation_percent": 87,
        "power_watts": 123.4,
        "temperature_celsius": 61,
    }


@pytest.mark.parametrize(
    ("nvml", "uuid"), [(FakeNvml(broken=["memory", "utilisation", "power", "temperature"]), "aaa"), (FakeNvml(), "zzz")]
)
def test_values_unknown_to_the_driver_are_none_and_not_zero(nvml, uuid):
    assert set(NvmlReader(nvml, uuid).sample().values()) == {None}


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
    with MemoryMeter(CPU, events.append, nvml=NvmlReader(FakeNvml(), "aaa"), hertz=200) as meter:
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
