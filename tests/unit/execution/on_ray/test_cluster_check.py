"""The check for a cluster answers soon, in a sentence and without loading Ray."""

import contextlib
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from tabtune_core.errors import ClusterError
from tabtune_core.execution.on_ray import cluster_check


@pytest.fixture
def machine(monkeypatch):
    """A machine with Ray; call it with the names of its processes."""
    monkeypatch.setattr(cluster_check, "find_spec", lambda name: SimpleNamespace(origin="ray/__init__.py"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def has(*names):
        monkeypatch.setattr(
            cluster_check.psutil,
            "process_iter",
            lambda wanted: [SimpleNamespace(info={"name": name}) for name in names],
        )

    has("bash")
    return has


def listening(answer):
    """A server that sends ``answer`` to every client."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):  # closed
            while True:
                there, _ = server.accept()
                there.recv(100)
                there.sendall(answer)
                there.close()

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.fixture
def port():
    """The port of a server that answers like a head node."""
    with listening(bytes(3) + b"\x04" + bytes(5)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None)], ids=["not installed", "a folder of that name"])
def test_a_missing_ray_package_is_reported_with_its_install_command(monkeypatch, spec):
    monkeypatch.setattr(cluster_check, "find_spec", lambda name: spec)
    with pytest.raises(
        ClusterError,
        match=r"needs the package ray, which is not installed\. Run: pip install 'tabtune-dashboard\[ray\]'",
    ):
        cluster_check.check("auto")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "auto",
            r"to join at 'auto': This machine is not part of a cluster\. Start one on this machine with 'ray start "
            r"--head'",
        ),
        ("127.0.0.1:1", r"to join at '127.0.0.1:1': .*refused"),
        ("127.0.0.1:99999", "to join at '127.0.0.1:99999': "),
        ("somewhere", r"to join at 'somewhere': This is not an address; write HOST:6379\."),
        ("ray://127.0.0.1:10001", "is that of a Ray client"),
    ],
)
def test_a_missing_cluster_is_reported_with_the_address_and_the_way_out(machine, address, said):
    with pytest.raises(ClusterError, match=said):
        cluster_check.check(address)


def test_a_machine_that_is_part_of_a_cluster_may_join_it(machine, port):
    with pytest.raises(ClusterError, match="This machine is not part of a cluster"):
        cluster_check.check(f"127.0.0.1:{port}")
    machine("bash", "raylet")
    cluster_check.check("auto")
    cluster_check.check(f"127.0.0.1:{port}")


def test_ray_is_not_loaded_for_it():
    program = (
        "import sys\nfrom tabtune_core.execution.worker_flags import ExecutorChoice\nfrom tabtune_core.errors import "
        "ClusterError\n"
        "try:\n    ExecutorChoice('ray', '127.0.0.1:1').check()\nexcept ClusterError:\n    print(sorted({'ray', "
        "'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_another_version_of_ray_is_reported_with_both_versions():
    told = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.52.0\n    Python: 3.11.7\nThis process was "
        "started with:\n    Ray: 2.60.0\n"
    )
    said = str(cluster_check.no_cluster("auto", RuntimeError(told)))
    assert (
        "Ray: 2.52.0 Python: 3.11.7 This process was started with: Ray: 2.60.0. Install the same version of Ray" in said
    )
    assert "ray start" not in said


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad request"], ids=["empty", "HTTP"])
def test_an_address_that_is_not_a_head_node_is_not_waited_for(machine, answer):
    machine("raylet")
    with listening(answer) as server, pytest.raises(ClusterError, match="Another program listens there"):
        cluster_check.check(f"127.0.0.1:{server.getsockname()[1]}")
