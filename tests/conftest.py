"""Makes the test helpers of this folder importable, and lets two test processes share two cores."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
gc.set_threshold(20_000)  # with the 700 of Python 3.11, a tenth of the tests' time goes into garbage collection


@pytest.fixture(autouse=True)
def chance():
    """Seeds torch, so that a test's random numbers do not depend on the tests before it in its process."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # for busy machines
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)  # elsewhere examples are new
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def main_module():
    """Restores ``__main__``: every process spawned later would run a page that ``AppTest`` left there."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def no_worker_goes_on():
    """Waits for workers that a test started here, or they would execute queued runs beside later tests."""
    yield
    if lock := sys.modules.get("tabtune_core.execution.lock"):
        while lock._started:
            lock._started.popitem()[1].wait(timeout=60)


@pytest.fixture
def store(tmp_path):
    from tabtune_core.store.runs import RunStore

    return RunStore(tmp_path)


@pytest.fixture
def unverified(monkeypatch):
    """Skips the check of a run's package in a fresh process, which takes seconds and has its own tests."""
    monkeypatch.setattr("tabtune_core.engine.experiment.verify_in_fresh_process", lambda *_, **__: (True, ""))


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """The CPU, and a GPU if there is one, so that such tests run on every machine."""
    import torch

    return torch.device("cpu") if request.param == "cpu" else request.getfixturevalue("gpu")


def all_gpus():
    """The GPUs that runs may use, including the pretend ones of ``tests/fakes/pretend_card``."""
    import torch

    from tabtune_core.gpus import TYPES

    kind = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if kind is not None and kind.type in TYPES else 0
    return [torch.device(kind.type, place) for place in range(count)]


@pytest.fixture
def two_gpus():
    gpus = all_gpus()
    if len(gpus) < 2:
        pytest.skip(f"torch sees {len(gpus)} GPUs, and this takes two")
    return gpus[0], gpus[-1]


@pytest.fixture
def gpu():
    """The last GPU. With pretend GPUs, checks that the test does not use the others."""
    gpus = all_gpus()
    if not gpus:
        pytest.skip("torch sees no GPU on this machine")
    touched = getattr(sys.modules["torch"].get_device_module(gpus[0]), "touched", lambda place: 0)
    before = touched(0)
    yield gpus[-1]
    assert len(gpus) == 1 or touched(0) == before, "another GPU than the requested one was used"


@pytest.fixture
def real_gpu(gpu):
    """A GPU with real readings."""
    if gpu.type != "cuda":
        pytest.skip("a pretend GPU has no such figures")
    return gpu


@pytest.fixture
def counting_gpu(gpu):
    """A GPU that counts kernels and host waits."""
    if gpu.type == "cuda":
        pytest.skip("a real GPU does not count what the host waits for")
    return gpu


@pytest.fixture(autouse=True)
def _signals():
    """Restores the handlers that the dashboard's program sets."""
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)
