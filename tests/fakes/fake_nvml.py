"""Stands in for pynvml, the library of the NVIDIA driver. The test sets ``CARDS`` and their properties."""

import types


class NVMLError(Exception):
    """Raised for every query that the driver does not answer."""


class Driver:
    """A machine's GPUs by UUID."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *uuids, names=None, free=None):
        self.uuids, self.names, self.free = uuids, names or uuids, free or {}
        self.opened = 0
        self.nvmlDeviceGetHandleByIndex = self.uuids.__getitem__
        self.nvmlDeviceGetCount = lambda: len(self.uuids)
        self.nvmlDeviceGetUUID = str.encode

    def nvmlInit(self):
        self.opened += 1

    def nvmlDeviceGetName(self, uuid):
        return self.names[self.uuids.index(uuid)] if uuid in self.uuids else f"slice {uuid}"

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.uuids and not uuid.startswith("MIG-"):
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
