"""Measures memory: what the GPU, the process and torch hold, by phase.

In: a device. Out: ``MemorySampled`` a few times a second, and the peaks of each phase; what cannot be read is None.
"""

import ctypes
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import torch

from tabtune_core.devices import gpu_module, is_gpu, memory_bytes
from tabtune_core.events import Event, MemorySampled, Phase, PhaseDone, PhaseStarted
from tabtune_core.gpus import answer_of

METERS = ("resident", "torch_allocated", "torch_reserved", "nvml_device")
DENSE = 500
"""Emitted samples after which half as many are emitted; the peaks of a phase are those of all samples."""


class NvmlReader:
    """Reads one GPU through NVML; ``library`` is ``pynvml``."""

    def __init__(self, library: Any, uuid: str) -> None:
        self._library = library
        library.nvmlInit()
        # by UUID: an index could be another GPU under CUDA_VISIBLE_DEVICES, and a MIG slice has no index
        names = [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]
        handles = (answer_of(library.nvmlDeviceGetHandleByUUID, name, library=library) for name in names)
        self._handle = next((handle for handle in handles if handle is not None), None)

    def _read(self, question: Callable[..., Any], *arguments: Any) -> Any:
        return None if self._handle is None else answer_of(question, self._handle, *arguments, library=self._library)

    def sample(self) -> dict[str, Any]:
        """Returns the NVML fields of ``MemorySampled``."""
        library, power = self._library, self._read(self._library.nvmlDeviceGetPowerUsage)
        return dict(
            nvml_device_bytes=getattr(self._read(library.nvmlDeviceGetMemoryInfo), "used", None),
            utilisation_percent=getattr(self._read(library.nvmlDeviceGetUtilizationRates), "gpu", None),
            power_watts=None if power is None else power / 1000,
            temperature_celsius=self._read(library.nvmlDeviceGetTemperature, library.NVML_TEMPERATURE_GPU),
        )


def open_nvml(device: torch.device) -> NvmlReader | None:
    """Opens a reader for an NVIDIA GPU; None for other devices, or if the driver's library is missing."""
    if not is_gpu(device):
        return None
    import pynvml

    uuid = str(gpu_module(device).get_device_properties(device).uuid)
    reader: NvmlReader | None = answer_of(NvmlReader, pynvml, uuid, library=pynvml)
    return reader


def thinned(samples: Iterable[MemorySampled]) -> Iterator[MemorySampled]:
    """Yields the first sample of each phase, and fewer the longer a run takes: after DENSE every second, and so on."""
    yielded, waiting, phase = 0, 0, None
    for sample in samples:
        waiting += 1
        if sample.phase != phase or waiting >= 2 ** (yielded // DENSE):
            yield sample
            yielded, waiting, phase = yielded + 1, 0, sample.phase


class MemoryMeter:
    """Samples memory in a thread and keeps the peaks of each phase.

    ``speaks`` is the ranking meter: torch's allocated bytes on a GPU, resident memory on the CPU.
    """

    def __init__(
        self, device: torch.device, emit: Callable[[Event], None], *, nvml: NvmlReader | None = None, hertz: float = 4
    ) -> None:
        self._device, self._emit, self._nvml, self._seconds = device, emit, nvml, 1 / hertz
        self._process = psutil.Process()
        self._phase: Phase = "load"
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._peaks: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="memory meter", daemon=True)
        self.speaks = "torch_allocated" if is_gpu(device) else "resident"
        self._kernel_keeps_peaks = False
        self.base_bytes: int | None = None
        self.highest_bytes = 0
        self.growth_bytes: dict[Phase, int | None] = {}
        """Peak of each finished phase over the loaded base."""
        self._earlier_growth_bytes: int | None = None

    def __enter__(self) -> "MemoryMeter":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def sample(self) -> MemorySampled:
        """Takes one sample of all meters."""
        gpu = gpu_module(self._device) if is_gpu(self._device) else None
        return MemorySampled(
            phase=self._phase,
            resident_bytes=self._process.memory_info().rss,
            torch_allocated_bytes=gpu.memory_allocated(self._device) if gpu else None,
            torch_reserved_bytes=gpu.memory_reserved(self._device) if gpu else None,
            **(self._nvml.sample() if self._nvml else {}),
        )

    def _run(self) -> None:
        for event in thinned(self._samples()):
            self._emit(event)

    def _samples(self) -> Iterator[MemorySampled]:
        """Yields a sample at a time until the meter is stopped, and keeps the peaks of the current phase."""
        while not self._stop.is_set():
            with self._lock:
                sampled = self.sample()
                for meter in METERS:
                    value = getattr(sampled, f"{meter}_bytes")
                    if value is not None:
                        self._peaks[meter] = max(value, self._peaks.get(meter, 0))
            yield sampled
            self._stop.wait(self._seconds)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Emits the start of a phase and, at its end, its peaks; the end of ``load`` sets the level of the loaded base."""  # noqa: E501
        with self._lock:
            self._phase, self._peaks, self._earlier_growth_bytes = name, {}, None
            _give_back_freed_memory(self._device)
            self._kernel_keeps_peaks = _reset_peaks(self._device)
        self._emit(PhaseStarted(name))
        started = time.monotonic()
        yield
        peaks = self._phase_peaks()
        speaking = peaks[self.speaks]
        self.highest_bytes = max(self.highest_bytes, speaking or 0)
        if name == "load":  # memory freed by loading must not count as the base, or growth would be too small
            _give_back_freed_memory(self._device)
            self.base_bytes = getattr(self.sample(), f"{self.speaks}_bytes")
        growth = None if name == "load" else self._growth(speaking)
        self.growth_bytes[name] = growth
        base = self.base_bytes if name == "load" else None
        total = memory_bytes(self._device) if name == "load" and is_gpu(self._device) else None
        self._emit(PhaseDone(name, time.monotonic() - started, peaks, growth, base, total))

    def so_far(self) -> tuple[int, int | None]:
        """Returns the highest bytes of the run and the growth of the current phase, up to now."""
        speaking = self._phase_peaks()[self.speaks]
        return max(self.highest_bytes, speaking or 0), self._growth(speaking)

    def carry_over(self, highest_bytes: int, growth_bytes: int | None) -> None:
        """Takes over the peaks of an earlier process of the run up to the current phase: the higher ones count."""
        self.highest_bytes, self._earlier_growth_bytes = max(self.highest_bytes, highest_bytes), growth_bytes

    def _growth(self, speaking: int | None) -> int | None:
        """Returns the growth over the loaded base, or an earlier process's if higher; None if neither was read."""
        own = None if self.base_bytes is None or speaking is None else max(0, speaking - self.base_bytes)
        return max((known for known in (own, self._earlier_growth_bytes) if known is not None), default=None)

    def _phase_peaks(self) -> dict[str, int | None]:
        """Returns the peaks of the current phase by meter, up to now."""
        with self._lock:
            return {meter: self._peaks.get(meter) for meter in METERS} | self._exact_peaks()

    def _exact_peaks(self) -> dict[str, int | None]:
        """Returns the peaks recorded by torch and the kernel, which include spikes between two samples."""
        if is_gpu(self._device):
            gpu, device = gpu_module(self._device), self._device
            return {
                "torch_allocated": gpu.max_memory_allocated(device),
                "torch_reserved": gpu.max_memory_reserved(device),
            }
        status = Path("/proc/self/status").read_text() if self._kernel_keeps_peaks else ""
        match = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)  # the kernel's high-water mark: proc(5)
        return {"resident": int(match[1]) * 1024} if match else {}


def _reset_peaks(device: torch.device) -> bool:
    """Resets the peaks of torch and the kernel; returns whether the kernel allowed it (not in every container)."""
    if is_gpu(device):
        gpu_module(device).reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets VmHWM to the present size
    except OSError:
        return False
    return True


def _give_back_freed_memory(device: torch.device) -> None:
    """Returns freed memory to the system: it would otherwise count for the next phase, or be missing elsewhere."""
    if is_gpu(device):
        gpu_module(device).empty_cache()
    pyarrow.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
