"""Replaces NVIDIA's own module: a driver that names the two pretend GPUs."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("fake_nvml", Path(__file__).parents[1] / "fake_nvml.py")
_fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fakes)
sys.modules[__name__] = _fakes.Driver("GPU-pretend-0", "GPU-pretend-1", names=["Pretend card"] * 2)
