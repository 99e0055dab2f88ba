"""A pretend GPU: with this folder on PYTHONPATH, torch has the devices "card:0" and "card:1", and the driver names two
GPUs.

``card.cpp`` is compiled at the first use on a machine and cached by its content. Every process that loads torch has the
devices, through torch's mechanism for external backends (the entry point ``torch.backends``).
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import types
from pathlib import Path

import torch

SOURCE = Path(__file__).parent / "card.cpp"
NAME = "Pretend card"
BYTES = int(os.environ.get("PRETEND_CARD_BYTES", 8 << 30))


def build() -> Path:
    """Returns the library of the backend; the first process builds it."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"pretend-card-{os.getuid()}"
    made = folder / f"{key}.so"
    if not made.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        there = Path(torch.__file__).parent
        begun = folder / f"{key}.{os.getpid()}.so"
        compiler = shutil.which(os.environ.get("CXX", "g++")) or "c++"
        headers = [f"-I{there / 'include'}", f"-I{there / 'include/torch/csrc/api/include'}"]
        libraries = [f"-L{there / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
        flags = ["-shared", "-fPIC", "-std=c++20", "-O1", "-w"]
        subprocess.run([compiler, *flags, *headers, str(SOURCE), "-o", str(begun), *libraries], check=True)
        begun.replace(made)
    return made


def register() -> None:
    """Called by torch when it is loaded."""
    if "card" in vars(torch):
        return
    torch.utils.rename_privateuse1_backend("card")
    torch.ops.load_library(str(build()))
    for card in range(2):
        torch.ops.pretend_card.set_capacity(card, BYTES)
    torch._register_device_module("card", _module())
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)


def _place(device: object = None) -> int:
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return torch.ops.pretend_card.current() if index is None else index


def _module() -> types.ModuleType:
    """Makes ``torch.card``, with the functions of ``torch.cuda`` under the same names."""
    ops, module = torch.ops.pretend_card, types.ModuleType("torch.card")

    @contextlib.contextmanager
    def on(device):
        before = ops.current()
        ops.set_current(_place(device))
        try:
            yield
        finally:
            ops.set_current(before)

    def seed_all(seed):
        for card in range(2):
            ops.seed(card, seed)

    def total(device=None):
        return ops.capacity(_place(device))

    def limit(share, device=None):
        ops.set_capacity(_place(device), int(share * BYTES))

    vars(module).update(
        is_available=lambda: True,
        is_initialized=lambda: True,
        _initialized=True,
        _is_in_bad_fork=lambda: False,
        device_count=lambda: 2,
        current_device=ops.current,
        set_device=lambda device: ops.set_current(_place(device)),
        device=on,
        synchronize=lambda device=None: ops.synchronize(_place(device)),
        empty_cache=ops.empty_cache,
        memory_allocated=lambda device=None: ops.held(_place(device)),
        max_memory_allocated=lambda device=None: ops.peak(_place(device)),
        memory_reserved=lambda device=None: ops.reserved(_place(device)),
        max_memory_reserved=lambda device=None: ops.reserved(_place(device)),
        reset_peak_memory_stats=lambda device=None: ops.reset_peak(_place(device)),
        mem_get_info=lambda device=None: (total(device) - ops.reserved(_place(device)), total(device)),
        set_per_process_memory_fraction=limit,
        get_device_name=lambda device=None: NAME,
        get_device_capability=lambda device=None: (9, 0),
        get_device_properties=lambda device=None: types.SimpleNamespace(
            total_memory=total(device), uuid=f"pretend-{_place(device)}"
        ),
        get_amp_supported_dtype=lambda: [torch.bfloat16, torch.float16],
        get_rng_state=lambda device=None: ops.random_state(_place(device)),
        set_rng_state=lambda state, device=None: ops.set_random_state(_place(device), state),
        manual_seed=lambda seed: ops.seed(ops.current(), seed),
        manual_seed_all=seed_all,
        waits=ops.waits,
        from_host=ops.from_host,
        launched=lambda device=None: ops.launched(_place(device)),
        touched=lambda device=None: ops.touched(_place(device)),
    )
    return module
