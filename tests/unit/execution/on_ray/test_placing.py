"""Where runs are placed on a cluster and why they wait, and their files on a node: without Ray."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_table import small_table

from tabtune_core.data.datasets import add_dataset
from tabtune_core.errors import ClusterError, ShortageError
from tabtune_core.execution.cluster import read_cluster, why_not_joined
from tabtune_core.execution.on_ray import executor as ray_executor
from tabtune_core.execution.on_ray import machines
from tabtune_core.execution.on_ray.machines import EVERY_RUN, Demand, Node, difference, versions
from tabtune_core.execution.on_ray.remote_run import RemoteRun
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES

HERE = versions()


def machine(name, cpus=4, gigabytes=16, gpus=0, **other):
    told = HERE | other
    has, problem = Demand(cpus, gigabytes * 1e9, gpus), difference(name, HERE, told, EVERY_RUN)
    return Node(name, name, has, ("NVIDIA L4",) * gpus, told, problem)


class Machines(machines.Machines):
    def __init__(self, *nodes):
        self.here = HERE
        self.ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=ConnectionError))
        self.seen, self.names = {}, {}
        self.put(*nodes)

    def put(self, *nodes):
        self.there = list(nodes)
        self.seen |= {node.id: node.has for node in nodes if not node.problem}

    def nodes(self):
        return self.there


class Going:
    def __init__(self, node, demand):
        self.node, self.demand = node, demand


@pytest.fixture
def opened(store, monkeypatch):
    def make(*nodes):
        there = Machines(*nodes)
        monkeypatch.setattr(ray_executor, "Machines", lambda address: there)
        return ray_executor.RayExecutor("auto", store, None, "fake_experiment")

    return make


@pytest.fixture
def queue(store):
    def add(*devices, rows=90, **more):
        frame, labels = small_table(rows)
        table = add_dataset(store.home, frame.assign(label=labels).to_csv(index=False).encode(), "a.csv").id
        store.add_sweep([RunSettings(dataset=table, target="label", device=device, **more) for device in devices])
        return store.runs(status="queued")

    return add


def test_a_run_goes_to_the_node_with_the_most_free_gpus_and_names_it(opened, queue):
    executor, queued = opened(machine("a", gpus=1), machine("b", gpus=2)), queue("auto")
    placement = executor.place(queued, [])
    assert (placement.node, placement.slot, placement.run) == ("b", "gpu", queued[0])
    taken = [Going("b", Demand(1, 1e9, 1)), Going("b", Demand(1, 1e9, 1))]
    assert executor.place(queued, taken).node == "a"
    assert executor.place(queued, [*taken, Going("a", Demand(1, 1e9, 1))]) is None


def test_a_cpu_run_overtakes_one_that_waits_for_a_gpu(opened, queue):
    executor, queued = opened(machine("a", gpus=1)), queue("cuda", "cpu")
    assert executor.place(queued, [Going("a", Demand(1, 1e9, 1))]).run == queued[1]


def test_a_run_that_fits_on_no_node_is_refused_with_both_sizes(opened, queue, store):
    executor, queued = opened(machine("a", gigabytes=0.1), machine("b", gigabytes=0.2)), queue("cpu")
    assert executor.place(queued, []) is None
    run = store.run(queued[0].id)
    assert run.status == "failed"
    assert "The run needs 4 CPUs, 0.5 GB of memory and no GPU, which no node of the cluster can give it" in run.error
    assert "Node a has 4 CPUs, 0.1 GB of memory and no GPU. Node b has 4 CPUs, 0.2 GB" in run.error


def test_a_run_waits_for_a_node_that_has_left_and_the_pages_say_so(opened, queue, store):
    executor, queued = opened(machine("a", gpus=1), machine("b")), queue("cuda")
    executor.machines.put(machine("b"))
    with pytest.raises(ShortageError, match="It waits for a node that was there before"):
        executor.place(queued, [])
    waits = read_cluster(store.home).waits
    assert waits.endswith("Node b has 4 CPUs, 16.0 GB of memory and no GPU. It waits for a node that was there before.")
    assert executor.place(queued, [Going("b", Demand(1, 1e9, 0))]) is None, "a run is going on, so the worker stays"
    executor.machines.put(machine("c", gpus=1))
    assert executor.place(queued, []).node == "c"
    assert read_cluster(store.home).waits == ""


@pytest.mark.parametrize("package", ["tabtune_core", "tabicl"])
def test_a_node_with_other_versions_gets_no_run_and_both_versions_are_named(opened, queue, store, package):
    executor, queued = opened(machine("old", **{package: "0.9"})), queue("cpu")
    assert executor.place(queued, []) is None
    sentence = f"Node old has {package} 0.9 and the worker has {HERE[package]}: install the same on both."
    assert sentence in store.run(queued[0].id).error
    other = opened(machine("old", cpus=64, torch="0.9"), machine("new", tabdpt="0.9"))
    assert other.place(queue("cpu"), []).node == "new", "the package of another model family may differ"


def test_the_reason_why_a_cluster_cannot_be_joined_reaches_the_pages(store, monkeypatch):
    def refuse(address):
        raise ClusterError("There is no Ray cluster to join.")

    monkeypatch.setattr(ray_executor, "Machines", refuse)
    with pytest.raises(ClusterError):
        ray_executor.RayExecutor("auto", store, None, "fake_experiment")
    assert why_not_joined(store.home) == "There is no Ray cluster to join."


@pytest.fixture
def remote(tmp_path):
    """A run whose actor was not started by Ray."""
    run = RemoteRun.__new__(RemoteRun)
    run.home, run.run_dir = tmp_path, tmp_path / "runs" / "0a-0"
    run.take(f"{STATES}/{LAST_STATE}", b"old")
    run.take(f"{STATES}/best-4.pt", b"old")
    return run


def test_a_table_is_of_the_node_and_a_state_of_the_run(remote):
    remote.take("datasets/d/table.json", b"{}")
    assert (remote.home / "datasets/d/table.json").read_bytes() == b"{}"
    assert remote.missing(["datasets/d/table.json", "datasets/d/table.parquet"]) == ["datasets/d/table.parquet"]
    assert remote.state() == {LAST_STATE: b"old", "best-4.pt": b"old"}


def test_a_run_leaves_its_files_without_states_and_log(remote):
    for name in ("adapter.zip", "more/file", "log.txt"):
        (remote.run_dir / name).parent.mkdir(exist_ok=True)
        (remote.run_dir / name).write_bytes(b"12")
    assert remote.left() == {"adapter.zip": b"12", "more/file": b"12"}


def test_a_last_state_that_is_replaced_while_it_is_read_is_not_sent(remote, monkeypatch):
    read, states = Path.read_bytes, remote.run_dir / STATES

    def slow(path):
        content = read(path)
        if path.name == LAST_STATE and content == b"old":
            remote.take(f"{STATES}/{LAST_STATE}", b"new")
            remote.take(f"{STATES}/best-8.pt", b"new")
            (states / "best-4.pt").unlink()
        return content

    monkeypatch.setattr(Path, "read_bytes", slow)
    assert remote.state() == {}
    assert remote.state() == {LAST_STATE: b"new", "best-8.pt": b"new"}
