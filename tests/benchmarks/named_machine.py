"""The machine that a benchmark ran on, in words."""

import os
import re
from pathlib import Path

import torch


def machine() -> str:
    """For example ``Intel Xeon, 2 cores, 1 thread, torch 2.9.1, load 0.1``."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    threads = torch.get_num_threads()
    cpu = found[1].strip() if found else "unknown CPU"
    return (
        f"{cpu}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )
