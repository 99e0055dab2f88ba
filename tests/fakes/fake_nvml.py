"""Stands in for pynvml, the library of the NVIDIA driver. The test sets ``CARDS`` and their properties."""

import types

NVML_DEVICE_MIG_ENABLE = 1
NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = 3


class NVMLError(Exception):
    """Raised for every query that the driver does not answer."""


class Driver:
    """A machine's GPUs by UUID; ``slices`` of those that are split."""

    NVML_DEVICE_MIG_ENABLE = NVML_DEVICE_MIG_ENABLE
    NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *uuids, names=None, slices=None, exclusive=(), free=None):
        self.uuids, self.names, self.slices, self.exclusive, self.free = (
            uuids,
            names or uuids,
            slices or {},
            exclusive,
            free or {},
        )
        self.opened = 0
        self.nvmlDeviceGetHandleByIndex = self.uuids.__getitem__
        self.nvmlDeviceGetCount = lambda: len(self.uuids)
        self.nvmlDeviceGetUUID = str.encode
        self.nvmlDeviceGetMaxMigDeviceCount = lambda uuid: 7

    def nvmlInit(self):
        self.opened += 1

    def nvmlDeviceGetComputeMode(self, uuid):
        return NVML_COMPUTEMODE_EXCLUSIVE_PROCESS if uuid in self.exclusive else 0

    def nvmlDeviceGetName(self, uuid):
        return self.names[self.uuids.index(uuid)] if uuid in self.uuids else f"slice {uuid}"

    def nvmlDeviceGetMigMode(self, uuid):
        if uuid not in self.slices:
            raise NVMLError("not supported")
        return NVML_DEVICE_MIG_ENABLE, NVML_DEVICE_MIG_ENABLE

    def nvmlDeviceGetMigDeviceHandleByIndex(self, uuid, place):
        if place >= len(self.slices[uuid]):
            raise NVMLError("not found")
        return self.slices[uuid][place]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids and not any(uuid in there for there in self.slices.values()):
            raise NVMLError("not found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, uuid):
        return types.SimpleNamespace(free=self.free.get(uuid, 1), total=2, used=1)

    def nvmlSystemGetDriverVersion(self):
        return b"570.0"

    def nvmlSystemGetCudaDriverVersion(self):
        return 12080

    def nvmlDeviceGetPowerUsage(self, uuid):
        raise NVMLError("not supported")

    def nvmlDeviceGetTemperature(self, uuid, sensor):
        return 40

    def nvmlDeviceGetUtilizationRates(self, uuid):
        return types.SimpleNamespace(gpu=5)

    def nvmlDeviceGetComputeRunningProcesses(self, uuid):
        return []
