"""Makes the test helpers in this folder importable, and two processes of tests good neighbours on two cores."""

import gc
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
gc.set_threshold(20_000)  # at the 700 of Python 3.11 a tenth of the tests' time goes into looking for cycles


@pytest.fixture(autouse=True)
def chance():
    """The same for a test wherever it runs: which tests ran before it in its process depends on the processes."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)  # elsewhere every run draws anew
settings.load_profile("ci" if os.environ.get("CI") else "here")

LEFT_OPEN: list[str] = []


class Watched(sqlite3.Connection):
    """One that is dropped before it was closed is written down, as Python warns of it from 3.13 on."""

    def __init__(self, database, *given, **more):
        super().__init__(database, *given, **more)
        self.path = str(database)

    def __del__(self):
        try:
            self.total_changes  # noqa: B018 - raises where it is closed
        except sqlite3.ProgrammingError:
            return
        LEFT_OPEN.append(self.path)
        self.close()


real_connect = sqlite3.connect
sqlite3.connect = lambda *given, **more: real_connect(*given, **{"factory": Watched, **more})


@pytest.fixture(autouse=True)
def databases_are_closed():
    """A test, and what it calls, leaves no database to the garbage collector."""
    yield
    left = LEFT_OPEN[:]
    LEFT_OPEN.clear()
    assert left == []


@pytest.fixture(autouse=True)
def main_module():
    """A page that ``AppTest`` ran stays in its place otherwise, and every process that is spawned later would run it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def no_worker_goes_on():
    """One that a test starts in its own process carries out what was queued beside all later tests, and for hours after the last."""
    yield
    if lock := sys.modules.get("tabtune_core.execution.lock"):
        while lock._started:
            lock._started.popitem()[1].wait(timeout=60)


@pytest.fixture
def store(tmp_path):
    """A new workspace."""
    from tabtune_core.store.runs import RunStore

    return RunStore(tmp_path)


@pytest.fixture
def unverified(monkeypatch):
    """The package of a run is not tried in a fresh process, which takes seconds and is another test's."""
    monkeypatch.setattr("tabtune_core.engine.experiment.verify_in_fresh_process", lambda *_, **__: (True, ""))


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """The CPU, and a GPU where there is one: what can be shown on both is, so that the test itself is tried everywhere."""
    import torch

    return torch.device("cpu") if request.param == "cpu" else request.getfixturevalue("gpu")


def all_gpus():
    """Those that runs may take; the pretend ones of ``tests/fakes/pretend_card`` are as good as any."""
    import torch

    from tabtune_core.gpus import TYPES

    found = torch.accelerator.current_accelerator(check_available=True)
    there = found is not None and found.type in TYPES
    return [torch.device(found.type, place) for place in range(torch.accelerator.device_count())] if there else []


@pytest.fixture
def two_gpus():
    """The first and the last."""
    found = all_gpus()
    if len(found) < 2:
        pytest.skip(f"torch sees {len(found)} GPUs, and this takes two")
    return found[0], found[-1]


@pytest.fixture
def gpu():
    """The last. Of pretend ones, the test must leave the others alone."""
    found = all_gpus()
    if not found:
        pytest.skip("torch sees no GPU on this machine")
    touched = getattr(sys.modules["torch"].get_device_module(found[0]), "touched", lambda place: 0)
    before = touched(0)
    yield found[-1]
    assert len(found) == 1 or touched(0) == before, "something was done on another GPU than the one that was asked for"


@pytest.fixture
def real_gpu(gpu):
    """A GPU whose own figures count."""
    if gpu.type != "cuda":
        pytest.skip("a pretend GPU has no such figures")
    return gpu


@pytest.fixture
def counting_gpu(gpu):
    """A GPU that counts kernels and what the host waits for."""
    if gpu.type == "cuda":
        pytest.skip("a real GPU does not count what the host waits for")
    return gpu
