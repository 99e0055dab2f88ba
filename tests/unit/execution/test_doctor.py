"""Every obstacle to a run is named with the way out."""

import pytest
from fakes.fake_nvml import Driver

from tabtune_core import gpus
from tabtune_core.execution import doctor
from tabtune_core.execution.cluster import Cluster, write_cluster
from tabtune_core.execution.doctor import examine, report
from tabtune_core.execution.lock import WorkerLock
from tabtune_core.store.runs import RunStore


def found(home, name):
    """Returns the check called ``name``."""
    return {check.name: check for check in examine(home)}[name]


def test_a_sound_machine_has_no_problem_and_no_workspace_is_created(tmp_path):
    checks = examine(home := tmp_path / "home")
    assert [check for check in checks if check.state == "problem"] == []
    assert not home.exists()
    assert {"Python", "torch", "TabICL", "NVIDIA driver", "Memory"} <= {check.name for check in checks}
    assert all(check.found in report(checks) and check.advice in report(checks) for check in checks)


@pytest.mark.parametrize(
    ("torch_cuda", "driver_cuda", "state"), [("12.8", 12080, "ok"), ("12.8", 13000, "ok"), ("13.0", 12040, "problem")]
)
def test_a_driver_that_is_too_old_for_torch_is_a_problem(tmp_path, monkeypatch, torch_cuda, driver_cuda, state):
    nvml = Driver("GPU-1", names=("NVIDIA H100",))
    nvml.nvmlSystemGetCudaDriverVersion = lambda: driver_cuda
    monkeypatch.setattr(gpus, "pynvml", nvml)
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: True)
    monkeypatch.setattr(doctor, "_cuda_of_torch", lambda: torch_cuda)
    check = found(tmp_path, "NVIDIA driver")
    assert check.state == state
    assert ("a torch for CUDA 12.4" in check.advice) == (state == "problem")
    assert found(tmp_path, "cuda:0").found.startswith("NVIDIA H100, ")
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: False)
    assert found(tmp_path, "GPUs").state == "note"


def test_the_cuda_of_torch_is_what_torch_reports():
    import torch

    assert doctor._cuda_of_torch() == torch.version.cuda


def test_an_unusable_workspace_is_a_problem_and_little_room_a_note(tmp_path, monkeypatch):
    (tmp_path / "runs.sqlite").write_bytes(b"no database" * 100)
    assert "is damaged" in found(tmp_path, "Workspace").advice
    (tmp_path / "file").touch()
    assert "is a file." in found(tmp_path / "file" / "home", "Workspace").advice
    monkeypatch.setattr(doctor, "machine_memory", lambda: (10**6, 10**10))
    assert found(tmp_path, "Memory").state == "note"


def test_the_worker_and_a_cluster_that_it_could_not_join_are_reported(tmp_path):
    RunStore(tmp_path)
    assert found(tmp_path, "Worker").found.startswith("does not run")
    write_cluster(tmp_path, Cluster(waits="There is no Ray cluster to join."))
    assert found(tmp_path, "Cluster").advice == "There is no Ray cluster to join."
    lock = WorkerLock(tmp_path)
    assert lock.take()
    assert found(tmp_path, "Worker").found.startswith("process ")
    lock.release()
