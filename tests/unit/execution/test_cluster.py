"""Whether runs can start here: the doctor's checks, and a cluster to join, answered without loading Ray."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fakes.fake_nvml import Driver

from tabtune_core import gpus
from tabtune_core.errors import ClusterError
from tabtune_core.execution import cluster, doctor
from tabtune_core.execution.cluster import CLUSTER, Cluster, ClusterNode, read_cluster, why_not_joined, write_cluster
from tabtune_core.execution.doctor import examine, report
from tabtune_core.execution.lock import WorkerLock
from tabtune_core.execution.worker_flags import VARIABLE, cluster_for_new_runs
from tabtune_core.store.runs import RunStore

NODES = ClusterNode("a", 8, ("NVIDIA L4",) * 2), ClusterNode("b", 4, (), "Node b has torch 2.8.0.")
MADE = Cluster(NODES, "It waits.")


@pytest.fixture
def machine(monkeypatch):
    """A machine with Ray; call it with the names of its processes."""
    monkeypatch.setattr(cluster, "find_spec", lambda name: SimpleNamespace(origin="ray/__init__.py"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def has(*names):
        running = [SimpleNamespace(info={"name": name}) for name in names]
        monkeypatch.setattr(cluster.psutil, "process_iter", lambda wanted: running)

    has("bash")
    return has


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None)], ids=["not installed", "a folder of that name"])
def test_a_missing_ray_package_is_reported_with_its_install_command(monkeypatch, spec):
    monkeypatch.setattr(cluster, "find_spec", lambda name: spec)
    with pytest.raises(ClusterError, match=r"Run: pip install 'tabtune-dashboard\[ray\]'"):
        cluster.check("auto")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("auto", r"to join at 'auto': This machine is not part of a cluster\. Start one with 'ray start --head'"),
        ("127.0.0.1:1", r"to join at '127.0.0.1:1': .*refused"),
        ("127.0.0.1:99999", "to join at '127.0.0.1:99999': "),
        ("somewhere", r"to join at 'somewhere': This is not an address; write HOST:6379\."),
        ("ray://127.0.0.1:10001", "is that of a Ray client"),
    ],
)
def test_a_missing_cluster_is_reported_with_the_address_and_the_way_out(machine, address, why):
    with pytest.raises(ClusterError, match=why):
        cluster.check(address)


def test_a_machine_that_is_part_of_a_cluster_may_join_it(machine):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match="This machine is not part of a cluster"):
            cluster.check(address)
        machine("bash", "raylet")
        cluster.check("auto")
        cluster.check(address)


def test_ray_is_not_loaded_for_it():
    program = (
        "import sys\nfrom tabtune_core.execution.worker_flags import ExecutorChoice\n"
        "try:\n    ExecutorChoice('ray', '127.0.0.1:1').check()\n"
        "except ValueError:\n    print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_another_version_of_ray_is_reported_with_both_versions():
    text = str(cluster.no_cluster("auto", RuntimeError("Version mismatch: Ray: 2.52.0\n  This process: Ray: 2.60.0\n")))
    assert "Ray: 2.52.0 This process: Ray: 2.60.0. Install the same version of Ray" in text
    assert "ray start" not in text


def test_the_file_reads_back_and_a_node_without_runs_does_not_count(tmp_path):
    write_cluster(tmp_path, MADE)
    assert read_cluster(tmp_path) == MADE
    assert MADE.summary == "1 node, 8 CPUs, 2 GPUs (2 × NVIDIA L4)"


@pytest.mark.parametrize("content", ["", "[]", '{"nodes": 3, "waits": ""}', '{"nodes": [{"name": "a"}], "waits": ""}'])
def test_a_damaged_file_means_no_cluster(tmp_path, content):
    (tmp_path / CLUSTER).write_text(content)
    assert read_cluster(tmp_path) is None


def test_the_cluster_of_an_ended_worker_counts_only_if_the_next_worker_joins_it(tmp_path, monkeypatch):
    write_cluster(tmp_path, MADE)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert cluster_for_new_runs(tmp_path) is None
    monkeypatch.setenv(VARIABLE, "--executor ray")
    assert cluster_for_new_runs(tmp_path) == MADE


def test_only_a_cluster_without_nodes_could_not_be_joined(tmp_path):
    for made, why in ((None, ""), (MADE, ""), (Cluster(waits="There is none."), "There is none.")):
        if made:
            write_cluster(tmp_path, made)
        assert why_not_joined(tmp_path) == why


def found(home, name):
    return {check.name: check for check in examine(home)}[name]


def test_a_sound_machine_has_no_problem_and_no_workspace_is_created(tmp_path):
    checks = examine(home := tmp_path / "home")
    assert [check for check in checks if check.state == "problem"] == []
    assert not home.exists()
    assert {"Python", "torch", "TabICL", "NVIDIA driver", "Memory"} <= {check.name for check in checks}
    assert all(check.fact in report(checks) and check.advice in report(checks) for check in checks)


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
    assert found(tmp_path, "cuda:0").fact.startswith("NVIDIA H100, ")
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
    assert found(tmp_path, "Worker").fact.startswith("does not run")
    write_cluster(tmp_path, Cluster(waits="There is no Ray cluster to join."))
    assert found(tmp_path, "Cluster").advice == "There is no Ray cluster to join."
    lock = WorkerLock(tmp_path)
    assert lock.take()
    assert found(tmp_path, "Worker").fact.startswith("process ")
    lock.release()
