"""Every obstacle to a run is named with the way out, and nothing leaves the machine unasked."""

import socket

import pytest
from fakes.fake_nvml import Driver

from tabtune_core import gpus, machine
from tabtune_core.execution import doctor
from tabtune_core.execution.cluster_file import Cluster, write_cluster
from tabtune_core.execution.doctor import examine, report
from tabtune_core.execution.lock import WorkerLock, stop_workers
from tabtune_core.machine import Disk
from tabtune_core.models.checkpoints import is_here
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore


def found(home, name, **more):
    """Returns the check called ``name``."""
    return {check.name: check for check in examine(home, **more)}[name]


def test_a_sound_machine_has_no_problem_and_no_workspace_is_created(tmp_path):
    home = tmp_path / "home"
    checks = examine(home)
    assert [check for check in checks if check.state == "problem"] == []
    assert not home.exists()
    assert {"Python", "torch", "TabICL", "NVIDIA driver", "TabICL weights", "Memory", "Workspace"} <= {
        check.name for check in checks
    }


def test_nothing_leaves_the_machine_unasked_and_an_unreachable_hub_is_a_note(tmp_path, monkeypatch):
    asked = []

    def refuse(host, *_, **__):
        asked.append(host)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    assert found(tmp_path, "Hugging Face").state == "ok"
    assert asked == []
    told = found(tmp_path, "Hugging Face", online=True)
    assert (told.state, asked) == ("note", ["hub.invalid"])
    assert "https://hub.invalid cannot be reached: no such host" in told.found
    assert "HF_ENDPOINT" in told.advice


def test_an_invalid_hub_address_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "mirror.example")
    told = found(tmp_path, "Hugging Face", online=True)
    assert (told.state, "mirror.example cannot be reached: unknown url type" in told.found) == ("note", True)


def test_a_missing_or_too_old_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=99", "no-such-package", "never; extra == 'test'"])
    told = found(tmp_path, "Other packages")
    assert told.state == "problem"
    assert "needed >=99; no-such-package is missing" in told.found
    assert "never" not in told.found


def test_a_missing_or_untested_upstream_package_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.upstream.installed", lambda name: None if "autogluon" in name else "99.1")
    assert "run: " in found(tmp_path, "Mitra").advice
    told = found(tmp_path, "TabICL")
    assert (told.state, told.found) == ("note", "tabicl 99.1 is not among the tested versions")


def test_present_missing_and_damaged_weights_are_distinguished(tmp_path, monkeypatch):
    monkeypatch.setattr(
        doctor, "is_here", lambda weights: weights.file.startswith("tabicl-classifier-v2") or is_here(weights)
    )
    assert found(tmp_path, "TabICL weights").found.startswith(
        "here: TabICL mini (Apache-2.0, commercial use allowed), "
        "TabICL v2 (BSD-3-Clause, commercial use allowed); not here: "
    )
    by_path = ", ".join(
        f"TabPFN v{version} (TabPFN-{version} License, no commercial use)" for version in ("2.5", "2.6")
    )
    assert found(tmp_path, "TabPFN weights").found == f"not here: TabPFN v2; only by path: {by_path}"
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    told = found(tmp_path, "TabDPT weights")
    assert (told.state, told.found) == ("problem", "missing: tabdpt-mini.safetensors")


@pytest.mark.parametrize(
    ("torch_cuda", "driver_cuda", "state", "told"),
    [
        ("12.8", 12080, "ok", ""),
        ("12.8", 13000, "ok", ""),
        ("13.0", 12040, "problem", "install a newer driver, or a torch for CUDA 12.4"),
    ],
)
def test_a_driver_that_is_too_old_for_torch_is_a_problem(tmp_path, monkeypatch, torch_cuda, driver_cuda, state, told):
    nvml = Driver("GPU-1", names=("NVIDIA H100",))
    nvml.nvmlSystemGetCudaDriverVersion = lambda: driver_cuda
    monkeypatch.setattr(gpus, "pynvml", nvml)
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: True)
    monkeypatch.setattr(doctor, "_made_for", {"cuda": torch_cuda}.get)
    check = found(tmp_path, "NVIDIA driver")
    assert check.state == state
    assert told in check.advice
    assert found(tmp_path, "cuda:0").found.startswith("NVIDIA H100, ")


def test_a_gpu_with_a_torch_without_cuda_is_reported(tmp_path, monkeypatch):
    nvml = Driver("GPU-1")
    nvml.nvmlSystemGetCudaDriverVersion = lambda: 12080
    monkeypatch.setattr(gpus, "pynvml", nvml)
    monkeypatch.setattr(gpus, "torch_has_cuda", lambda: False)
    monkeypatch.setattr(doctor, "_made_for", lambda what: None)
    assert found(tmp_path, "GPUs").found == "1 here, but runs cannot use them: torch has no CUDA"


def test_a_silent_driver_is_no_problem_if_torch_sees_its_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "driver", lambda: None)
    monkeypatch.setattr(doctor, "count_cards", lambda: 2)
    check = found(tmp_path, "NVIDIA driver")
    assert (check.state, check.found) == ("note", "it does not answer (NVML), but torch sees 2 GPUs")


def test_the_versions_of_torch_and_cuda_are_those_that_torch_reports():
    import torch

    assert doctor._made_for("cuda") == torch.version.cuda
    assert torch.__version__.partition("+")[0] in doctor._torch().found  # PyPI builds with CUDA name it after the plus


def test_little_disk_space_and_an_unusable_workspace_are_reported(tmp_path, monkeypatch):
    (tmp_path / "runs.sqlite").write_bytes(b"no database" * 100)
    told = found(tmp_path, "Workspace")
    assert (told.state, "is damaged" in told.found) == ("problem", True)
    monkeypatch.setattr(doctor, "disk_of", lambda path: Disk(tmp_path, 10**6, 10**12, False, True))
    monkeypatch.setattr(doctor, "machine_memory", lambda: (10**6, 10**10))
    assert found(tmp_path, "Disk of temporary files").state == "note"
    assert found(tmp_path, "Memory").state == "note"


def test_a_running_worker_and_one_stopped_while_runs_wait_are_distinguished(tmp_path):
    store = RunStore(tmp_path)
    assert found(tmp_path, "Worker").state == "ok"
    store.add_sweep([RunSettings(dataset="d", target="y")])
    stop_workers(tmp_path)
    told = found(tmp_path, "Worker")
    assert (told.state, told.advice) == ("note", "Start it: loralab worker")
    assert told.found.startswith("was stopped")
    lock = WorkerLock(tmp_path)
    assert lock.take()
    assert found(tmp_path, "Worker").found.startswith("process ")
    lock.release()


def test_the_report_has_every_check_and_its_advice(tmp_path):
    checks = examine(tmp_path)
    text = report(checks)
    assert all(check.found in text and check.advice in text for check in checks)


def test_a_workspace_that_cannot_be_created_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:4 / {tmp_path.resolve() / 'far'} rw - nfs server:/x rw\n"
    )
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "mounts")
    assert found(tmp_path / "near" / "home", "Workspace").state == "ok"
    told = found(tmp_path / "far" / "home", "Workspace")
    assert (told.state, "network file system (nfs, mounted at" in told.advice) == ("problem", True)
    told = found(tmp_path / "mounts" / "home", "Workspace")
    assert (told.state, f"{tmp_path / 'mounts'} is a file." in told.advice) == ("problem", True)
    monkeypatch.setattr(doctor, "why_nothing_starts", lambda folder: f"Nothing can be written to {folder}.")
    assert found(tmp_path / "near" / "home", "Workspace").advice == f"Nothing can be written to {tmp_path}."
    assert not (tmp_path / "near").exists()


def test_a_cluster_that_the_worker_could_not_join_is_reported(tmp_path):
    RunStore(tmp_path)
    write_cluster(tmp_path, Cluster(waits="There is no Ray cluster to join."))
    assert (found(tmp_path, "Cluster").state, found(tmp_path, "Cluster").advice) == (
        "problem",
        "There is no Ray cluster to join.",
    )
