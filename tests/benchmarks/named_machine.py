"""A description of the machine that a benchmark ran on."""

import os
import re
from pathlib import Path

import torch


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else "unknown CPU"


def machine() -> str:
    """For example ``Intel Xeon, 2 cores, 1 thread, torch 2.9.1, load 0.1``."""
    cores, threads, load = os.cpu_count(), torch.get_num_threads(), os.getloadavg()[0]
    return (
        f"{processor()}, {cores} cores, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}, load "
        f"{load:.1f}"
    )
